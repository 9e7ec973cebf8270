/** The key and certificate of the server's end of connections that never leave a process: nobody trusts them, and no name is in them. */
export const credentials = {
  certificate: Buffer.from(
    "MIIBejCCASCgAwIBAgIUcM8mIdNtfqugKpqRtEZC/mZ0yBEwCgYIKoZIzj0EAwIwEzERMA8GA1UEAwwIb2Zmc2V0b2YwIBcNMjYxMTIyMDA0NjIxWhgPMjEyNjEwMjkwMDQ2MjFaMBMxETAPBgNVBAMMCG9mZnNldG9mMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEFj98NBS0Z+6VY5Yn3xOdHUoeklvSyv/jVDqumhJN99Vw1Lo/tQwPsfb3BSayovdfjlQR7N1JjKzOzv6uyMwfaNQME4wHQYDVR0OBBYEFBOGsAPX2sLbGM+xCo0sJMvdkTXMMB8GA1UdIwQYMBaAFBOGsAPX2sLbGM+xCo0sJMvdkTXMMAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0EAwIDSAAwRQIhALtsqHzg6NGvE6hYGkkLuC+fkp36WJyIEyZi2D8wKWPtAiA4vkS/WRgQk1CfMaOc122MLWtZ2HZnLG6TiXl8ekHiEw==",
    "base64",
  ),
  key: Buffer.from(
    "MHcCAQEEIPSyDZDdOOPksqcrBMP+OsOGo9xaA0QgTB0l4tZyKz26oAoGCCqGSM49AwEHoUQDQgAEEFj98NBS0Z+6VY5Yn3xOdHUoeklvSyv/jVDqumhJN99Vw1Lo/tQwPsfb3BSayovdfjlQR7N1JjKzOzv6uyMwfQ==",
    "base64",
  ),
};
