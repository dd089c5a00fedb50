# terraform init -backend-config=backend.hcl
bucket         = "candlefish-terraform-state"
key            = "secrets-management/production/terraform.tfstate"
region         = "us-east-1"
encrypt        = true
dynamodb_table = "terraform-state-lock"
