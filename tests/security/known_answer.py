"""A request that Go's crypto/rsa and crypto/x509 signed, with throw-away keys.

The certificates are valid from 2020 to 2119.
"""

from __future__ import annotations

from typing import Final

KNOWN_MESSAGE: Final = (
    '{"protocol":"choria:request:1","message":"{\\"agent\\":\\"backplane\\",\\"action\\":\\"'
    'ping\\",\\"data\\":{}}","envelope":{"requestid":"1b3a5f2c8d0e4f6a9b7c1d2e3f405162",'
    '"senderid":"client1.example.net","callerid":"choria=sre.choria","collective":"ap'
    'p_backplane","agent":"backplane","ttl":60,"time":1700000000,"filter":{"fact":[],'
    '"cf_class":[],"agent":["backplane"],"identity":[],"compound":[]}}}'
)

KNOWN_SHA256: Final = "2dc5c21bf3ab53b038c56e26cda8b81954aa64f8462e7d6ce85f88d6cb9da4af"

KNOWN_SIGNATURE: Final = (
    "eJAIOBgkB8CCvm7wPKN5Db6ILQhSTrYpS6Vpgin224Z9QXt/EbHEjmKo7ZTjUx1j8LU1KKoUf1DWRat5"
    "1yTdkFC1iVgnI8wkXmo2AM3q9FzP8vRlvI+zll9bouFJqqmnU9TtTd5yj7BOiQ/1hwVZAeZSe0S4nng+"
    "h169Qtj5JB2uq6J58R8abXzX13Hy2ceB0cFxQBfciNIPimlSgmrs6uAK2oLSVpAV9AboV37oYnWNLoUV"
    "hv332WzWE3BDQl/JnUmoHYFxQg2uetxZjAWcMkfTno3DW8gw771Qg8oaTBqbpp3oLARwT3/KpqrN1Oa5"
    "ENmjpeiew1YkmtIK/OsJIw=="
)

KNOWN_CERTIFICATE: Final = """\
-----BEGIN CERTIFICATE-----
MIIDAzCCAeugAwIBAgIBAjANBgkqhkiG9w0BAQsFADASMRAwDgYDVQQDEwdUZXN0
IENBMCAXDTIwMDEwMTAwMDAwMFoYDzIxMTkxMjMxMjM1OTU5WjAVMRMwEQYDVQQD
EwpzcmUuY2hvcmlhMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAwCCO
QzvKt6EY6un+C4OoK+Kn4CQKYYSUQaNUmYc+H2jA6aDww19Nh+4hD5OJ/sSNM9Ms
b4py6unVMP0hsNzHr2VupcanUpkbPk4A8PmVVRtrc5MMMrqY0vDQv+F0TW/CRdaR
1AFOShjg9bqk0JhNLA9Oo1a3yQ3YkWxF7n6DRR8Mytb8uLe3cPUkFBkZcLOjrEMl
PiunrSQSJe8JT2WDA9X3fJjOsCaPymYYAgVEs1o9sEXk6wJhTUc6X8mWrM10ek6I
w0sXTfVGEB4H2No6yrnjcFYpyz4CjUS+4+uHINvTXkK83H+S7s+9igZMjBqAeI9D
a3l0STIRA9YrYiqMdQIDAQABo18wXTAOBgNVHQ8BAf8EBAMCB4AwEwYDVR0lBAww
CgYIKwYBBQUHAwIwHwYDVR0jBBgwFoAUc5uW9uPx++16b3t906fQ9k5Ji2gwFQYD
VR0RBA4wDIIKc3JlLmNob3JpYTANBgkqhkiG9w0BAQsFAAOCAQEAUQLDgWj8EckA
8bRiBYvcsQq9fLkap82VVBAsETzgvE9NL2DXMYNiCKtsl8PHzIkhNuV8BtvOPfgm
olf5S6skwCjvrgsyb6WozlHcGGcAA7P6ABTJow2wBck6LdR8eNPnFHZM9tsHt7qV
VkyGGP+CPcd4qMzBC5E1M5gOHiwKo5xU//E8hA5FGh+lIY1S+N036pctCa29wLzA
yW8bLcFObroB68UfCpl9l0TnrWs298C4RFsX10+l+i2yohEXJMQ0YzPy8O48hE5d
7O4US1rL3TE21gCMlKYmQsjdX8UbXGFh37qu2b2dnlRbIRUwiyqPmAiesMCvnjC6
QS0sT20GlQ==
-----END CERTIFICATE-----
"""

KNOWN_CA: Final = """\
-----BEGIN CERTIFICATE-----
MIIC4zCCAcugAwIBAgIBATANBgkqhkiG9w0BAQsFADASMRAwDgYDVQQDEwdUZXN0
IENBMCAXDTIwMDEwMTAwMDAwMFoYDzIxMTkxMjMxMjM1OTU5WjASMRAwDgYDVQQD
EwdUZXN0IENBMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAwLF9x/h1
UZUvRU2Ci2lmDCqXEfY/drAJbEXXeFVyvHU7Zwfy+R9WhrCCJMtj4aizPPf+0qgF
Um7VTDrgbWcp8k+tNDCsVqX2QBgz0t7JYXRSf/ue/Zp67Meba2j9wD/cOktxDi97
PPHba2oBkZxLtJAkmHvqdsovY/BKBdyShMZb7JqdjhtF2hgfTXXye5cN0luVqZ2P
SBWk32+mdxzcjTqVwi1lybSD9z3mjoZiQrz86wsqjBuxA/M7hIkuogQcBg/fOfz8
PNrduJtfjaVZ0nDYY1/GIrQg9D4QWkfCoO2mR1UfTm10+tqQbY6mCdS9XloNDczr
78lEAdPJg0srUwIDAQABo0IwQDAOBgNVHQ8BAf8EBAMCAQYwDwYDVR0TAQH/BAUw
AwEB/zAdBgNVHQ4EFgQUc5uW9uPx++16b3t906fQ9k5Ji2gwDQYJKoZIhvcNAQEL
BQADggEBAIdN99E+s43/75aGMI2tEpNxwroxPKE0jj/3KCTQ64BgBg1zZeAdOuNa
Q4GlPjfLik0nlvT6yNk6ARVHCh5uZ5g9WzmBlaVrMhUjYX7UoqkLhNTQ6fCYJrPv
UmhchsAc2eoGfZaSfldvoLju12TKKX3qu0RB960ybDOKsKkkFv1761xUjqnJX3eJ
IXp4DznrUPgHMtEeLjSIo7RCF2vjSETwSQKE/GeiEOi0OYme9AwhtMdCdG/TjSiv
khP/o8zWz4pfpHvqUYPUF5W47EDqKRpPO8wE0KmysJLmniaSXK0mgXIHEDaiTlep
u+K8SMJMMqRCVd3sBufh5TCwxasYmk4=
-----END CERTIFICATE-----
"""
