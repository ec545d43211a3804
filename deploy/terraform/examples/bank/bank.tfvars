administrator_arns = ["arn:aws:iam::111122223333:role/platform-terraform"]
oidc_provider_arn  = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/0A1B2C3D4E5F60718293A4B5C6D7E8F9"
instance_key_arns  = ["arn:aws:kms:us-east-1:111122223333:key/1a2b3c4d-5e6f-7081-92a3-b4c5d6e7f809"]
