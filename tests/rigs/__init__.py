"""What tests start and use: servers, harnesses for brokers, shells, worker trees, proxies."""
