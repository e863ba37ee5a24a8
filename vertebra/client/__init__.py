"""What people and programs ask of vertebra: start, decide, command, publish, look. Everything that counts is signed.

Functions take an open connection, whose rights are those of `vertebra_api` (of `vertebra_owner` for people), and the
signer; none reads a setting, a file or the environment.
"""
