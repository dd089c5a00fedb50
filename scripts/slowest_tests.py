#!/usr/bin/env python3
"""Prints the slowest tests of a JUnit report: seconds and name, the slowest first.

Usage: slowest_tests.py REPORT [COUNT]
"""

import sys
import xml.etree.ElementTree as ElementTree


def main() -> None:
    report = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    cases = ElementTree.parse(report).getroot().iter("testcase")
    timed = sorted(((float(case.get("time", 0)), case.get("name")) for case in cases), reverse=True)
    for seconds, name in timed[:count]:
        print(f"{seconds:7.1f} s  {name}")


if __name__ == "__main__":
    main()
