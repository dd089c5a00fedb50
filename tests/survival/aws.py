"""Speaks to AWS for `tests/it/survival/aws.rs`: one JSON request a line on standard input, one answer a line.

`variants` lists every field that the service model of an operation knows, each with the parameters that set
it to another legal value; `call` sends an operation. The models are those of the botocore that the sandbox's
emulator brings along.
"""

import copy
import json
import os
import sys

import botocore
import botocore.config
import botocore.session

DEEPEST = 6

session = botocore.session.get_session()
clients = {}


def client(service):
    if service not in clients:
        retries = {"total_max_attempts": 1}
        config = botocore.config.Config(retries=retries, s3={"addressing_style": "path"})
        region = os.environ.get("AWS_REGION", "us-east-1")
        clients[service] = session.create_client(service, region_name=region, config=config)
    return clients[service]


def input_shape(operation):
    service, name = operation.split(".")
    return client(service).meta.service_model.operation_model(name).input_shape


def leaves(shape, path, above):
    """Every field below a shape that has a value of its own."""
    if shape.type_name == "structure" and len(path) <= DEEPEST and shape.name not in above and shape.members:
        if getattr(shape, "is_tagged_union", False):
            yield path, shape
            return
        for name, member in shape.members.items():
            yield from leaves(member, path + [name], above + [shape.name])
    elif shape.type_name == "list" and shape.member.type_name == "structure" and len(path) <= DEEPEST:
        yield from leaves(shape.member, path + [0], above + [shape.name])
    else:
        yield path, shape


def written(path):
    text = ""
    for part in path:
        text += "[]" if part == 0 else f".{part}" if text else part
    return text


def another(shape, now):
    """Another legal value of a shape."""
    kind, limits = shape.type_name, getattr(shape, "metadata", {})
    if limits.get("enum"):
        return next((value for value in limits["enum"] if value != now), now)
    if kind == "boolean":
        return not now
    if kind in ("integer", "long", "float", "double"):
        least = limits.get("min", 1)
        return now + 1 if isinstance(now, (int, float)) else least
    if kind == "list":
        return [another(shape.member, None)]
    if kind == "map":
        return {"survival": another(shape.value, None)}
    if kind == "structure":
        return least_of(shape)
    if kind == "timestamp":
        return "2031-02-03T04:05:06Z"
    if kind == "blob":
        return "survival"
    return "survival"[: limits.get("max") or None].ljust(limits.get("min", 1), "x")


def least_of(shape):
    return {name: another(shape.members[name], None) for name in shape.required_members}


def placed(params, shape, path, value):
    """The parameters with `value` at `path`; what has to stand beside it is made up."""
    for part, following in zip(path, path[1:]):
        inner = shape.member if part == 0 else shape.members[part]
        if part == 0:
            if not params:
                params.append(least_of(inner))
        elif params.get(part) is None:
            params[part] = [] if inner.type_name == "list" else least_of(inner)
        params, shape = params[part], inner
    if path[-1] == 0:
        params[:] = [value]
    else:
        params[path[-1]] = value


def at(params, path):
    for part in path:
        if isinstance(params, list):
            params = params[0] if params else None
        elif isinstance(params, dict):
            params = params.get(part)
        if params is None:
            return None
    return params


def is_excused(name, excused):
    return any(name == one or one.endswith("*") and name.startswith(one[:-1]) for one in excused)


def variants(request):
    shape, found = input_shape(request["operation"]), []
    for path, leaf in leaves(shape, [], []):
        name = written(path)
        params = copy.deepcopy(request["base"])
        if name in request["values"]:
            values = request["values"][name]
            if isinstance(values, dict) and "params" in values:
                params.update(values["params"])
                params = {name: value for name, value in params.items() if value is not None}
            else:
                placed(params, shape, path, values)
        elif not is_excused(name, request["excused"]):
            placed(params, shape, path, another(leaf, at(params, path)))
        found.append({"field": name, "params": params})
    return found


def call(request):
    service, name = request["operation"].split(".")
    python = botocore.xform_name(name)
    answer = getattr(client(service), python)(**request["params"])
    answer.pop("ResponseMetadata", None)
    if hasattr(answer.get("Body"), "read"):
        answer["Body"] = answer["Body"].read().decode("utf-8", "replace")
    return json.loads(json.dumps(answer, default=str))


def answer(request):
    try:
        return {"ok": {"variants": variants, "call": call}[request["do"]](request)}
    except Exception as error:  # whatever it is, the test tells it
        return {"error": f"{type(error).__name__}: {error}"}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
