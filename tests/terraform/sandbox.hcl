# What Terraform must be told beside a rendered backend, because the sandbox is not Amazon.
use_path_style              = true
skip_credentials_validation = true
skip_requesting_account_id  = true
skip_metadata_api_check     = true
endpoints                   = { s3 = "URL", dynamodb = "URL", sts = "URL", iam = "URL" }
