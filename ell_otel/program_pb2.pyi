from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProgramVersion(_message.Message):
    __slots__ = ("name", "version", "source", "parts", "uses", "partial", "warnings", "origin", "git", "packages")
    class PackagesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    GIT_FIELD_NUMBER: _ClassVar[int]
    PACKAGES_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    source: str
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    uses: _containers.RepeatedCompositeFieldContainer[Use]
    partial: bool
    warnings: _containers.RepeatedScalarFieldContainer[str]
    origin: Origin
    git: Git
    packages: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., source: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., uses: _Optional[_Iterable[_Union[Use, _Mapping]]] = ..., partial: bool = ..., warnings: _Optional[_Iterable[str]] = ..., origin: _Optional[_Union[Origin, _Mapping]] = ..., git: _Optional[_Union[Git, _Mapping]] = ..., packages: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("module", "names", "text")
    MODULE_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    module: str
    names: _containers.RepeatedScalarFieldContainer[str]
    text: str
    def __init__(self, module: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., text: _Optional[str] = ...) -> None: ...

class Use(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("file", "line", "python")
    FILE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    file: str
    line: int
    python: str
    def __init__(self, file: _Optional[str] = ..., line: _Optional[int] = ..., python: _Optional[str] = ...) -> None: ...

class Git(_message.Message):
    __slots__ = ("commit", "branch", "dirty", "remote")
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    DIRTY_FIELD_NUMBER: _ClassVar[int]
    REMOTE_FIELD_NUMBER: _ClassVar[int]
    commit: str
    branch: str
    dirty: bool
    remote: str
    def __init__(self, commit: _Optional[str] = ..., branch: _Optional[str] = ..., dirty: bool = ..., remote: _Optional[str] = ...) -> None: ...
