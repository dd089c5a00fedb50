"""Asks a sandbox's AWS as somebody would who wants in; run by tests/it/guard.rs with the emulator's packages.

Arguments: URL. The sandbox's credentials are in the environment. Prints a JSON object: what was tried, and
whether it was answered ("served") or the code with which it was refused.
"""

import json
import os
import sys
import urllib.error
import urllib.request

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.session import Session

URL = sys.argv[1]
KEY, SECRET = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
CONFIG = Config(retries={"total_max_attempts": 1}, signature_version="v4", s3={"addressing_style": "path"})
S3_CONFIG = Config(retries={"total_max_attempts": 1}, signature_version="s3v4", s3={"addressing_style": "path"})
# It keeps what it has read of the services, so there is one for all clients.
SESSION = Session()
tried = {}


def client(service, key=KEY, secret=SECRET, token=None):
    config = S3_CONFIG if service == "s3" else CONFIG
    return SESSION.create_client(service, region_name="us-east-1", endpoint_url=URL, aws_access_key_id=key,
                                 aws_secret_access_key=secret, aws_session_token=token, config=config)


def attempt(what, call):
    try:
        call()
        tried[what] = "served"
    except ClientError as error:
        tried[what] = error.response["Error"]["Code"]


def who(*credentials):
    return client("sts", *credentials).get_caller_identity()


def web(what, path, method="GET", headers=None, body=None):
    request = urllib.request.Request(URL + path, body, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
            # A page that may read the answer is as good as let in.
            tried[what] = "served"
    except urllib.error.HTTPError as error:
        tried[what] = error.code


def signed(method, path, service, headers=None, body=b""):
    """The headers of a request with a good signature."""
    request = AWSRequest(method, URL + path, data=body, headers=dict(headers or {}))
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(Credentials(KEY, SECRET), service, "us-east-1").add_auth(request)
    return dict(request.headers)


iam, s3, sns = client("iam"), client("s3"), client("sns")
iam.create_user(UserName="caller")
key = iam.create_access_key(UserName="caller")["AccessKey"]
issued = key["AccessKeyId"], key["SecretAccessKey"]
everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
iam.put_user_policy(UserName="caller", PolicyName="all", PolicyDocument=json.dumps(everything))
trust = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "000000000000"}}]}
iam.create_role(RoleName="worker", AssumeRolePolicyDocument=json.dumps(trust))
role = client("sts", *issued).assume_role(RoleArn="arn:aws:iam::000000000000:role/worker", RoleSessionName="test")
role = role["Credentials"]
session = role["AccessKeyId"], role["SecretAccessKey"], role["SessionToken"]
s3.create_bucket(Bucket="guarded")
s3.put_object(Bucket="guarded", Key="a b/ü+%.txt", Body=b"x" * 100_000)
link = s3.generate_presigned_url("get_object", {"Bucket": "guarded", "Key": "a b/ü+%.txt"}, 60)[len(URL):]

attempt("own key", who)
attempt("root of another account", lambda: who("111111111111"))
attempt("issued key", lambda: who(*issued))
attempt("session", lambda: who(*session))
web("presigned link", link)

attempt("constant credentials", lambda: who("test", "test"))
attempt("constant key, own secret", lambda: who("test"))
attempt("own key, other secret", lambda: who(KEY, "test"))
attempt("other account, other secret", lambda: who("111111111111", "test"))
attempt("issued key, other secret", lambda: who(issued[0], SECRET))
attempt("session without its token", lambda: who(*session[:2]))
attempt("session of another secret", lambda: who(session[0], SECRET, session[2]))
web("no signature", "/guarded/x")
web("presigned link, changed", link.replace("Expires=60", "Expires=600"))
web("presigned link and a header", link, headers=signed("GET", "/", "s3"))
web("body changed", "/guarded/y", "PUT", signed("PUT", "/guarded/y", "s3", body=b"one"), b"two")
web("other path", "/guarded/z", "PUT", signed("PUT", "/guarded/y", "s3", body=b"one"), b"one")

good = signed("GET", "/guarded", "s3")
web("signed", "/guarded", headers=good)
for name, value in [("Origin", URL), ("Origin", "null"), ("Referer", "http://127.0.0.1/"),
                    ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")]:
    web(f"signed, with {name} {value}".replace(URL, "its own"), "/guarded", headers={**good, name: value})
for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1",
             "guarded.s3.amazonaws.com", "x.lambda-url.us-east-1.localhost", "[::2]"):
    web(f"signed for {host}", "/guarded", headers=signed("GET", "/guarded", "s3", {"Host": host}))
web("health", "/_ministack/health")
web("health from a page", "/_ministack/health", headers={"Origin": "http://evil.example"})
for path in ("/_ministack/reset", "/_ministack/config", "/_localstack/health", "/_aws/sqs/messages", "/health"):
    web(f"control {path}", path, "POST", signed("POST", path, "s3"))
web("reset with a word", "/_ministack/reset", "POST", {"Authorization": "Bearer test"})

for service, call in {
        "lambda": lambda c: c.list_functions(), "ecs": lambda c: c.list_clusters(),
        "ec2": lambda c: c.describe_instances(), "cloudformation": lambda c: c.list_stacks(),
        "codebuild": lambda c: c.list_projects(), "batch": lambda c: c.describe_jobs(jobs=["x"]),
        "sqs": lambda c: c.list_queues(), "events": lambda c: c.list_rules(), "rds": lambda c: c.describe_db_instances(),
        "stepfunctions": lambda c: c.list_state_machines(), "glue": lambda c: c.get_databases(),
        "apigateway": lambda c: c.get_rest_apis(), "scheduler": lambda c: c.list_schedules(),
        "pipes": lambda c: c.list_pipes(), "cloudcontrol": lambda c: c.list_resources(TypeName="AWS::S3::Bucket"),
        "ssm": lambda c: c.send_command(DocumentName="AWS-RunShellScript", InstanceIds=["i-1234567890abcdef0"]),
}.items():
    attempt(f"service {service}", lambda: call(client(service)))
# Signed for a service that is served, and addressed to one that is not.
web("path of lambda", "/2015-03-31/functions/", headers=signed("GET", "/2015-03-31/functions/", "s3"))
target = {"X-Amz-Target": "AWSLambda.Invoke", "Content-Type": "application/x-amz-json-1.1"}
web("target of lambda", "/", "POST", signed("POST", "/", "kms", target, b"{}"), b"{}")
topic = sns.create_topic(Name="guarded")["TopicArn"]
function = "arn:aws:lambda:us-east-1:000000000000:function:x"
sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)
sns.publish(TopicArn=topic, Message="x")

print(json.dumps(tried))
