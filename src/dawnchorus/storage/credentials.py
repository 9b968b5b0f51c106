"""Credentials of cloud stores, found as the clouds' own command-line tools find them.

obstore and deltalake read environment variables, tokens of containers and virtual machines, and Google's files
themselves. This module adds the rest: the configuration files of the AWS command line, and the variable names of
Azure's tools.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path

from dawnchorus.errors import InputError
from dawnchorus.storage.urls import AZURE_SCHEMES

_AWS_OWN = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
"""Environment variables that provide AWS credentials, or turn them off; they take precedence over a profile."""

_AWS_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_AWS_OTHER_KINDS = ("sso_session", "sso_start_url", "credential_process", "role_arn", "login_session")
_AZURE_VARIABLES = {
    "AZURE_STORAGE_ACCOUNT": "azure_storage_account_name",
    "AZURE_STORAGE_KEY": "azure_storage_account_key",
}
_AZURE_OWN = ("AZURE_STORAGE_", "AZURE_CLIENT_", "AZURE_FEDERATED_", "AZURE_MSI_", "IDENTITY_")


def store_options(scheme: str, environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the options, such as keys, that obstore and deltalake do not find themselves; the values are secret.

    The options are by name, as both libraries expect them. Environment variables take precedence over the values of an
    AWS profile. The profile is that of AWS_PROFILE, AWS_DEFAULT_PROFILE or else "default"; its values in the file
    `credentials` take precedence over those in `config`.

    Args:
        scheme: scheme of the store's URL, such as "s3"; the result is empty unless the store is S3 or Azure.
        environment: environment variables.
        home: the user's home folder, in which the clouds' tools keep their configuration files.

    Raises:
        InputError: a configuration file is invalid, or AWS_PROFILE names a profile that does not exist, or whose
            credentials are of a kind that we cannot read.
    """
    if scheme in ("s3", "s3a"):
        return _aws_options(environment, home)
    return _azure_options(environment, home) if scheme in AZURE_SCHEMES else {}


def _aws_options(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    name = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
    keys = _read_profiles(Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials"))
    settings = _read_profiles(Path(environment.get("AWS_CONFIG_FILE") or home / ".aws" / "config"))
    profile = {**settings.get(name or "default", {}), **keys.get(name or "default", {})}
    has_own = any(environment.get(variable) for variable in _AWS_OWN)
    if name and not profile and not has_own:
        raise InputError(f"AWS_PROFILE: there is no profile {name!r} in the files of the AWS tools.")
    options = {}
    if not has_own:
        options = {key: profile[key] for key in _AWS_KEYS if key in profile}
        if not options and (kind := next((each for each in _AWS_OTHER_KINDS if each in profile), None)):
            raise InputError(
                f"AWS_PROFILE: the profile {name or 'default'!r} takes its credentials from {kind}. Export them "
                f'before: eval "$(aws configure export-credentials --format env)".'
            )
    if "region" in profile and not (environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")):
        options["aws_region"] = profile["region"]
    endpoints = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = next((environment[each] for each in endpoints if environment.get(each)), None)
    if endpoint is None and "endpoint_url" in profile:
        endpoint = options["aws_endpoint"] = profile["endpoint_url"]
    if endpoint is not None and endpoint.startswith("http://"):
        options["allow_http"] = "true"
    return options


def _read_profiles(path: Path) -> dict[str, dict[str, str]]:
    """Return the profiles in a configuration file of the AWS tools, by name; empty if there is no such file."""
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        # The message of the parser has the line, which may hold a key.
        raise InputError(f"expected a file of the AWS tools ({type(error).__name__}).", subject=path) from None
    return {name.removeprefix("profile ").strip(): dict(parser[name]) for name in parser.sections()}


def _azure_options(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    options = {option: environment[name] for name, option in _AZURE_VARIABLES.items() if environment.get(name)}
    parts = (part.partition("=") for part in environment.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";"))
    connection = {name: value for name, _, value in parts if value}
    names = {
        "AccountName": "azure_storage_account_name",
        "AccountKey": "azure_storage_account_key",
        "SharedAccessSignature": "azure_storage_sas_key",
        "BlobEndpoint": "azure_storage_endpoint",
    }
    options |= {option: connection[name] for name, option in names.items() if name in connection}
    if options.get("azure_storage_endpoint", "").startswith("http://"):
        options["allow_http"] = "true"
    has_own = any(name.startswith(_AZURE_OWN) and name != "AZURE_STORAGE_ACCOUNT" for name in environment)
    if not has_own and (Path(environment.get("AZURE_CONFIG_DIR") or home / ".azure") / "azureProfile.json").is_file():
        options["azure_use_azure_cli"] = "true"
    return options
