# terraform init -backend-config=backend.hcl
bucket         = "quickstart-terraform-state"
key            = "quickstart/terraform.tfstate"
region         = "us-east-1"
encrypt        = true
kms_key_id     = "arn:aws:kms:us-east-1:000000000000:key/827992a3-cf21-4d44-b45e-f7b346ed8d06"
dynamodb_table = "quickstart-terraform-lock"
