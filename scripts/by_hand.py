"""What people and applications do in Vault, for the demo. No secret value is printed.

Run by `groundwork login PLAN -- python3 scripts/by_hand.py WHAT`, which gives it the admin's
token in VAULT_TOKEN. WHAT is one of:

  widen-policy  somebody gives the application more rights than the plan says
  be-the-app    the application logs in through its AppRole and reads its secrets
"""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request

ADDRESS = os.environ["VAULT_ADDR"]
ADMIN = os.environ["VAULT_TOKEN"]
TRUST = ssl.create_default_context(cafile=os.environ.get("VAULT_CACERT"))


def ask(method, path, token=None, body=None):
    headers = {"X-Vault-Token": token} if token else {}
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"{ADDRESS}/v1/{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10, context=TRUST) as answer:
        text = answer.read()
    return json.loads(text) if text else {}


def widen_policy():
    rules = 'path "secret/data/app/*" {\n  capabilities = ["read"]\n}\n'
    wider = rules + 'path "secret/data/*" {\n  capabilities = ["read", "delete"]\n}\n'
    ask("PUT", "sys/policies/acl/app-read", ADMIN, {"policy": wider})
    print("the policy app-read now allows reading and deleting all secrets")


def be_the_app():
    role_id = ask("GET", "auth/approle/role/app/role-id", ADMIN)["data"]["role_id"]
    secret_id = ask("POST", "auth/approle/role/app/secret-id", ADMIN, {})["data"]["secret_id"]
    login = ask("POST", "auth/approle/login", body={"role_id": role_id, "secret_id": secret_id})
    app = login["auth"]["client_token"]
    print("logged in through the AppRole app; policies:", ", ".join(login["auth"]["token_policies"]))
    for path in ("app/database", "app/session", "app/aws"):
        values = ask("GET", f"secret/data/{path}", app)["data"]["data"]
        shown = ", ".join(f"{name} ({len(value)} characters)" for name, value in sorted(values.items()))
        print(f"  secret/{path}: {shown}")
    try:
        ask("GET", "sys/mounts", app)
        sys.exit("the application may read sys/mounts, which it must not")
    except urllib.error.HTTPError as error:
        print(f"  sys/mounts: refused with {error.code}, as it should be")
    ask("POST", "auth/token/revoke-self", app, {})


if __name__ == "__main__":
    commands = {"widen-policy": widen_policy, "be-the-app": be_the_app}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]]()
