output "redis_url" {
  description = "For `redis_url` of the module of Weir."
  value       = "rediss://:${random_password.redis.result}@${aws_elasticache_replication_group.redis.primary_endpoint_address}:6379/0"
  sensitive   = true
}
