"""A client of the orchestrator, for programs: typed, sync and async.

What is listed here is promised: it changes only with a new version that says so.
"""

from orchestrator.client.answers import (
    Generation,
    KnownModel,
    LoadPlan,
    MachineStatus,
    ReadyModel,
    ServedModel,
    Unloaded,
)
from orchestrator.client.asynchronous.client import AsyncClient
from orchestrator.client.asynchronous.server import AsyncModelServer, async_provider
from orchestrator.client.asynchronous.stream import AsyncTextStream
from orchestrator.client.blocking.client import Client
from orchestrator.client.blocking.server import ModelServer, provider
from orchestrator.client.blocking.stream import TextStream
from orchestrator.client.errors import (
    ClientError,
    ContextTooSmall,
    DoesNotFit,
    LeaseLost,
    NotAnswered,
    NotChosen,
    NotUnderstood,
    Refused,
    TryLater,
    UnknownModel,
)
from orchestrator.client.exchanges import Retries
from orchestrator.client.generations import GenerateSettings, Message
from orchestrator.client.hardware import Hardware, hardware_found
from orchestrator.client.leases import HeldLease, HeldModel, HeldRoom
from orchestrator.client.operations import LoadSettings
from orchestrator.client.providers import AsyncProvider, Provider, ProviderName, chosen_provider

__all__ = [
    "AsyncClient",
    "AsyncModelServer",
    "AsyncProvider",
    "AsyncTextStream",
    "Client",
    "ClientError",
    "ContextTooSmall",
    "DoesNotFit",
    "GenerateSettings",
    "Generation",
    "Hardware",
    "HeldLease",
    "HeldModel",
    "HeldRoom",
    "KnownModel",
    "LeaseLost",
    "LoadPlan",
    "LoadSettings",
    "MachineStatus",
    "Message",
    "ModelServer",
    "NotAnswered",
    "NotChosen",
    "NotUnderstood",
    "Provider",
    "ProviderName",
    "ReadyModel",
    "Refused",
    "Retries",
    "ServedModel",
    "TextStream",
    "TryLater",
    "UnknownModel",
    "Unloaded",
    "async_provider",
    "chosen_provider",
    "hardware_found",
    "provider",
]
