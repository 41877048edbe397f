"""Who somebody is, what he may do, and whether a message is his: pure."""

from backplane.security.names import certname_of, valid_identity
from backplane.security.replay import ReplayMemory, Verdict
from backplane.security.roles import Role, RoleError, Roles, check_pattern, required_role
from backplane.security.signing import InsecureSigner, InsecureVerifier, Verifier

__all__ = [
    "InsecureSigner",
    "InsecureVerifier",
    "ReplayMemory",
    "Role",
    "RoleError",
    "Roles",
    "Verdict",
    "Verifier",
    "certname_of",
    "check_pattern",
    "required_role",
    "valid_identity",
]
