"""Serves the AWS emulator behind a guard.

The emulator answers anybody who can open its port, which is every process and every page in a browser on
the machine. This program serves it in the same process, and lets a request through only if

- it does not come from a page in a browser, and asks for this machine by a loopback name,
- it is signed (Signature Version 4) with the sandbox's own secret, or with a key that the emulator issued,
- it is for a service that Groundwork uses.

Other services of the emulator cannot be loaded, so a request that finds a way to them finds nothing. The
process starts no programs and opens no connections, whatever the emulator means to do.

Arguments: PORT CREDENTIALS-FILE.
"""

import asyncio
import configparser
import functools
import gc
import hashlib
import hmac
import importlib.abc
import importlib.machinery
import os
import re
import resource
import sys
import types
from urllib.parse import parse_qs, quote

# By the name that a signature's scope has, and the emulator's module for it.
SERVED = {
    "dynamodb": "dynamodb",
    "iam": "iam",
    "kms": "kms",
    "logs": "cloudwatch_logs",
    "monitoring": "cloudwatch",
    "s3": "s3",
    "secretsmanager": "secretsmanager",
    "sns": "sns",
    "ssm": "ssm",
    "sts": "sts",
}
# Loaded by those above for data of theirs: words of a language, the tags of things, queues of messages.
HELPERS = {"_dynamodb_keywords", "tagging", "sqs"}
# Work of a service that runs programs on machines.
REFUSED_OPERATIONS = re.compile(
    r"AmazonSSM\.(SendCommand|StartAutomationExecution|StartSession|CreateAssociation)")
# An access key id of twelve digits is the root of that account.
ACCOUNT = re.compile(r"[0-9]{12}")
LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")
# Browsers send these by themselves, and a page cannot leave them out.
OF_A_PAGE = {"origin", "referer", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest",
             "access-control-request-method"}
IN_THE_QUERY = ("x-amz-algorithm", "x-amz-credential", "x-amz-signature", "awsaccesskeyid")
LARGEST_BODY = 256 << 20
PROGRAMS = {"subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system",
            "pty.spawn", "socket.connect"}


class Absent(types.ModuleType):
    """A service that the sandbox does not have."""

    def __getattr__(self, name):
        raise AttributeError(f"the sandbox has no {self.__name__}")


class Services(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads an empty module in place of each service that is not served."""

    PREFIX = "ministack.services."

    def find_spec(self, name, path=None, target=None):
        if not name.startswith(self.PREFIX):
            return None
        if name[len(self.PREFIX):] in {*SERVED.values(), *HELPERS}:
            return None
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        return Absent(spec.name)

    def exec_module(self, module):
        pass


def confine():
    """From here on this process starts no program and connects to nothing."""
    sys.meta_path.insert(0, Services())

    def hook(event, _):
        if event in PROGRAMS:
            raise PermissionError(f"the sandbox's emulator must not do {event}")

    sys.addaudithook(hook)


def bypass(emulator):
    """Takes away what the emulator does before it asks for which service a request is: pages of its own,
    hosts and paths of applications that other services run."""

    async def nothing(*_, **__):
        return None

    for name in ("_handle_pre_body_request", "_handle_post_body_shortcuts", "_handle_special_data_plane_request"):
        if not hasattr(emulator, name):
            sys.exit(f"this emulator has no {name}; the guard is written for another version")
        setattr(emulator, name, nothing)


def lighten(actions, responses):
    """Has the emulator read the description of each service once. It reads one twice, and once through
    botocore's client, whose modules take longer to load than all the rest."""
    for module, name in ((actions, "_load_botocore_model"), (responses, "_service_model"),
                         (responses, "_BOTOCORE_NAME")):
        if not hasattr(module, name):
            sys.exit(f"this emulator has no {module.__name__}.{name}; the guard is written for another version")
    description = functools.lru_cache(maxsize=None)(actions._load_botocore_model)

    def model(service):
        found = description(responses._BOTOCORE_NAME.get(service, service))
        return types.SimpleNamespace(metadata=found["metadata"]) if found else None

    actions._load_botocore_model = description
    responses._service_model = model


def collect_seldom():
    """Keeps the garbage collector from looking at what was loaded, and from looking often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


class Refused(Exception):
    """What is said to a request that is not let through, in the terms of AWS."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


class Guard:
    def __init__(self, emulator, key_id, secret):
        self.emulator, self.key_id, self.secret = emulator, key_id, secret

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.emulator.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self.http(scope, receive, send)

    async def http(self, scope, receive, send):
        try:
            headers = self.from_a_program(scope)
            path = scope["path"]
            if path == "/_ministack/health" and scope["method"] == "GET":
                return await answer(send, 200, b"{}")
            if path.startswith(("/_", "/health")):
                if path == "/_ministack/reset" and scope["method"] == "POST" and self.is_owner(headers):
                    status, _, body = await self.emulator._handle_admin_reset(path, "POST", {})
                    return await answer(send, status, body)
                raise Refused("AccessDenied", f"the sandbox does not serve {path}")
            body = await whole(receive)
            if body is None:
                return None
            service = self.authenticate(scope, headers, body)
            self.route(scope, headers, body, service)
        except Refused as refused:
            return await self.refuse(scope, send, refused)
        return await self.emulator.app(scope, replay(body, receive), send)

    def from_a_program(self, scope):
        """The headers of a request that no page can have sent. A second one of a name is refused where it
        could be read otherwise by the emulator."""
        headers = {}
        for name, value in scope["headers"]:
            name, value = name.decode("latin-1").lower(), decoded(value)
            if name in headers and name in ("authorization", "host", "x-amz-target", "x-amz-security-token"):
                raise Refused("AccessDenied", f"two headers {name}")
            # A signature covers the values of one name joined by a comma.
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        found = OF_A_PAGE.intersection(headers)
        if found:
            raise Refused("AccessDenied", f"the sandbox serves no pages of a browser ({sorted(found)[0]})")
        if not LOOPBACK.fullmatch(headers.get("host", "").lower()):
            raise Refused("AccessDenied", "the sandbox is asked for as 127.0.0.1 or localhost only")
        return headers

    def is_owner(self, headers):
        return hmac.compare_digest(headers.get("authorization", "").encode(), f"Bearer {self.secret}".encode())

    def authenticate(self, scope, headers, body):
        """Checks the signature; gives the service that it is for."""
        from ministack.core import sigv4

        query = parse_qs(scope.get("query_string", b"").decode("utf-8", "replace"), keep_blank_values=True)
        authorization = headers.get("authorization", "")
        presigned = any(name.lower() in IN_THE_QUERY for name in query)
        if presigned and authorization:
            raise Refused("AccessDenied", "a signature in the header and one in the address")
        if presigned:
            signature = sigv4.parse_query_signature(query)
        elif authorization.startswith("AWS4-HMAC-SHA256 "):
            signature = sigv4.parse_header_signature(headers)
        else:
            raise Refused("MissingAuthenticationToken", "the sandbox serves signed requests only; "
                          "`groundwork sandbox run` gives a command its credentials")
        if isinstance(signature, tuple):
            raise Refused(*signature)
        if signature.region_set is not None or "host" not in signature.signed_headers.split(";"):
            raise Refused("SignatureDoesNotMatch", "Signature Version 4 that covers the host is needed")
        late = expired(sigv4, signature, query) if presigned else sigv4.request_time_failure(signature)
        if late:
            raise Refused(*late)
        token = headers.get("x-amz-security-token") or first(query, "X-Amz-Security-Token")
        raw_path = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
        failure = sigv4.header_signature_failure(
            signature, self.secret_of(signature.access_key_id, token), scope["method"], raw_path, query, headers,
            body, presigned=presigned)
        if failure:
            raise Refused(*failure)
        digest = headers.get("x-amz-content-sha256", "")
        if re.fullmatch("[0-9a-f]{64}", digest) and digest != hashlib.sha256(body).hexdigest():
            raise Refused("XAmzContentSHA256Mismatch", "the body is not the one that was signed")
        return signature.service

    def secret_of(self, key_id, token):
        """The secret of the sandbox itself, or of a key that the emulator issued."""
        from ministack.core import iam_evaluator, responses

        if key_id == self.key_id or ACCOUNT.fullmatch(key_id):
            return self.secret
        unknown = Refused("InvalidClientTokenId", "The security token included in the request is invalid.")
        # The emulator takes these for its root.
        if not key_id or iam_evaluator.is_root_access_key(key_id):
            raise unknown
        try:
            account = iam_evaluator.find_iam_access_key_account(key_id)
        except iam_evaluator.AmbiguousAccessKeyError:
            raise unknown from None
        account = responses._account_from_sts_session(key_id) or account or responses.get_account_id()
        found = iam_evaluator.resolve_credential(key_id, account, token)
        if isinstance(found, iam_evaluator.CredentialResolutionError):
            raise Refused(found.code, found.message)
        return found.secret_access_key

    def route(self, scope, headers, body, service):
        """What the emulator makes of the request must be what its signature is for."""
        if service not in SERVED:
            raise Refused("AccessDenied", f"the sandbox does not serve {service}")
        query = parse_qs(scope.get("query_string", b"").decode("utf-8", "replace"), keep_blank_values=True)
        method, path = scope["method"], scope["path"]
        params = self.emulator._routing_params(method, path, headers, body, query)
        try:
            found = self.emulator.detect_service(method, path, headers, params)
        except AttributeError:
            found = "another service"
        if found not in (service, "unknown_query"):
            raise Refused("AccessDenied", f"the request is signed for {service} and is one of {found}")
        if REFUSED_OPERATIONS.fullmatch(headers.get("x-amz-target", "")):
            raise Refused("AccessDenied", f"the sandbox does not serve {headers['x-amz-target']}")

    async def refuse(self, scope, send, refused):
        """Answers in the form that the service's clients read."""
        from ministack.core.iam_evaluator import AuthError

        headers = {name.decode("latin-1").lower(): decoded(value) for name, value in scope["headers"]}
        status, answered, body = self.emulator._credential_failure(
            spoken(headers), "", "sandbox", AuthError(refused.code, refused.message), headers)
        await answer(send, status if 400 <= status < 500 else 403, body, answered)


def spoken(headers):
    """A service whose form of errors the client reads."""
    scoped = re.search(r"Credential=[^/ ]*/[0-9]*/[^/ ]*/([a-z0-9]+)/", headers.get("authorization", ""))
    if scoped and scoped[1] in SERVED:
        return scoped[1]
    kind = headers.get("content-type", "")
    return "kms" if "json" in kind else "iam" if "form" in kind else "s3"


def expired(sigv4, signature, query):
    try:
        seconds = int(first(query, "X-Amz-Expires"))
        if 0 < seconds <= 604800 and not sigv4.presigned_request_is_expired(signature.amz_date, seconds):
            return None
    except ValueError:
        pass
    return "AccessDenied", "Request has expired"


def first(query, name):
    return next(iter(query.get(name) or query.get(name.lower()) or [""]))


def decoded(value):
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def whole(receive):
    """The body, which a signature covers; nothing when the client has gone."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY:
            raise Refused("EntityTooLarge", f"the sandbox takes bodies of up to {LARGEST_BODY} bytes")
        if not message.get("more_body"):
            return b"".join(parts)


def replay(body, receive):
    """Gives the emulator the body that was read before it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def again():
        return messages.pop() if messages else await receive()

    return again


async def answer(send, status, body, headers=None):
    headers = {"content-type": "application/json", **{k.lower(): v for k, v in (headers or {}).items()}}
    headers["content-length"] = str(len(body))
    await send({"type": "http.response.start", "status": status,
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()]})
    await send({"type": "http.response.body", "body": body})


def main():
    port, file = sys.argv[1:]
    credentials = configparser.RawConfigParser()
    credentials.read(file)
    key_id = credentials["default"]["aws_access_key_id"]
    secret = credentials["default"]["aws_secret_access_key"]
    # Where the emulator looks for its root's own.
    os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"] = key_id, secret
    os.environ["SERVICES"] = ",".join(SERVED)
    confine()

    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack import app as emulator
    from ministack.core import iam_actions, responses

    bypass(emulator)
    lighten(iam_actions, responses)
    collect_seldom()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard) if soft < hard else (soft, hard))
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    asyncio.run(serve(Guard(emulator, key_id, secret), config))


if __name__ == "__main__":
    main()
