# Applying this takes until somebody makes the file `go`.
terraform {
  backend "s3" {
    bucket                      = "gw-state"
    key                         = "env/terraform.tfstate"
    region                      = "us-east-1"
    LOCK
    use_path_style              = true
    skip_credentials_validation = true
    skip_requesting_account_id  = true
    skip_metadata_api_check     = true
    endpoints                   = { s3 = "URL", dynamodb = "URL", sts = "URL", iam = "URL" }
  }
}

resource "terraform_data" "slow" {
  input = "ROUND"
  provisioner "local-exec" {
    command = "touch started; while [ -d . ] && [ ! -e go ]; do sleep 0.05; done"
  }
  triggers_replace = "ROUND"
}
