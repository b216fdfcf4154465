"""Backups of a deployment on AWS: tasks that copy the databases to an S3 bucket, and restore them."""
