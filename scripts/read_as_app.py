"""Does what an application does: logs in through its AppRole, reads its secrets, and stops.

Run by `groundwork login PLAN -- python3 scripts/read_as_app.py`, with the admin's token in
VAULT_TOKEN; the token serves to make one secret-id and nothing else. Values are not printed.
"""

import json
import os
import urllib.error
import urllib.request

ADDRESS = os.environ["VAULT_ADDR"]


def ask(method, path, token=None, body=None):
    headers = {"X-Vault-Token": token} if token else {}
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"{ADDRESS}/v1/{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text else {}


def main():
    admin = os.environ["VAULT_TOKEN"]
    role_id = ask("GET", "auth/approle/role/app/role-id", admin)["data"]["role_id"]
    secret_id = ask("POST", "auth/approle/role/app/secret-id", admin, {})["data"]["secret_id"]
    login = ask("POST", "auth/approle/login", body={"role_id": role_id, "secret_id": secret_id})
    app = login["auth"]["client_token"]
    print("logged in through the AppRole `app`, policies:", ", ".join(login["auth"]["token_policies"]))
    for path in ("app/database", "app/session", "app/aws"):
        values = ask("GET", f"secret/data/{path}", app)["data"]["data"]
        shown = ", ".join(f"{name} ({len(value)} characters)" for name, value in sorted(values.items()))
        print(f"  secret/{path}: {shown}")
    try:
        ask("GET", "sys/mounts", app)
        raise SystemExit("the app's token may read sys/mounts, which it must not")
    except urllib.error.HTTPError as error:
        print(f"  sys/mounts: refused with {error.code}, as it should be")
    ask("POST", "auth/token/revoke-self", app, {})


if __name__ == "__main__":
    main()
