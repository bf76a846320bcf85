"""Plain HTTP: requests with an absolute target, forwarded one by one."""
