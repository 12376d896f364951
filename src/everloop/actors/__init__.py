"""Who acts, how that is proven, and what a role may do.

`admit` is the door that every command and notebook passes: it finds the actor by their key and holds what they want
against `roles` in everloop.yaml. `signed_approval` takes the identity of a signed commit instead.
"""

from everloop.actors.actor import Actor, Proof
from everloop.actors.admission import admit, is_open, note_roles
from everloop.actors.approval import policy_may_approve, refuse_unfit_approver
from everloop.actors.authority import ACTIONS, Action, authorise
from everloop.actors.authors import authors_of
from everloop.actors.commit import signed_approval
from everloop.actors.credential import given_key
from everloop.actors.keys import KEY_KINDS, KeyState, MadeKey, create_key, key_states, proven_by, revoke_key
from everloop.actors.secret import text_hash

__all__ = [
    "ACTIONS",
    "KEY_KINDS",
    "Action",
    "Actor",
    "KeyState",
    "MadeKey",
    "Proof",
    "admit",
    "authorise",
    "authors_of",
    "create_key",
    "given_key",
    "is_open",
    "key_states",
    "note_roles",
    "policy_may_approve",
    "proven_by",
    "refuse_unfit_approver",
    "revoke_key",
    "signed_approval",
    "text_hash",
]
