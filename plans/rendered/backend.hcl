# terraform init -backend-config=backend.hcl
bucket         = "quickstart-terraform-state"
key            = "quickstart/terraform.tfstate"
region         = "us-east-1"
encrypt        = true
kms_key_id     = "arn:aws:kms:us-east-1:000000000000:key/3178b58a-ec24-4bd1-bf92-f15b16130c08"
dynamodb_table = "quickstart-terraform-lock"
