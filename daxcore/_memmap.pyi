import os
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Protocol, SupportsIndex, TypeAlias, overload

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

from ._core import Mmap

__all__ = ["memmap"]

_Shape = TypeVar(
    "_Shape", bound=tuple[Any, ...], default=tuple[Any, ...], covariant=True
)
_DType = TypeVar("_DType", bound=np.dtype[Any], default=np.dtype[Any], covariant=True)
_Scalar = TypeVar("_Scalar", bound=np.generic)

_Mode: TypeAlias = Literal[
    "r+", "r", "w+", "c", "readwrite", "readonly", "write", "copyonwrite"
]
_ShapeLike: TypeAlias = SupportsIndex | Sequence[SupportsIndex] | None

class _FileObject(Protocol):
    def read(self, n: int, /) -> bytes: ...
    def seek(self, offset: int, whence: int, /) -> object: ...
    def fileno(self) -> int: ...

_Filename: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes] | _FileObject

class memmap(np.ndarray[_Shape, _DType]):
    __array_priority__: ClassVar[float]
    filename: str | os.PathLike[str] | None
    offset: int | None
    mode: Literal["r+", "r", "w+", "c"] | None
    _mmap: Mmap | None
    @overload
    def __new__(
        subtype,
        filename: _Filename,
        dtype: type[np.uint8] = ...,
        mode: _Mode = "r+",
        offset: SupportsIndex = 0,
        shape: _ShapeLike = None,
        order: Literal["C", "F"] = "C",
    ) -> memmap[Any, np.dtype[np.uint8]]: ...
    @overload
    def __new__(
        subtype,
        filename: _Filename,
        dtype: np.dtype[_Scalar] | type[_Scalar],
        mode: _Mode = "r+",
        offset: SupportsIndex = 0,
        shape: _ShapeLike = None,
        order: Literal["C", "F"] = "C",
    ) -> memmap[Any, np.dtype[_Scalar]]: ...
    @overload
    def __new__(
        subtype,
        filename: _Filename,
        dtype: npt.DTypeLike,
        mode: _Mode = "r+",
        offset: SupportsIndex = 0,
        shape: _ShapeLike = None,
        order: Literal["C", "F"] = "C",
    ) -> memmap[Any, np.dtype[Any]]: ...
    def __array_finalize__(self, obj: object) -> None: ...
    def __array_wrap__(
        self,
        array: np.ndarray[Any, Any],
        context: tuple[np.ufunc, tuple[Any, ...], int] | None = None,
        return_scalar: bool = False,
    ) -> Any: ...
    def flush(self) -> None: ...
    def extents(self) -> npt.NDArray[np.void]: ...
    def populated(self) -> Iterator[slice]: ...
    def punch(
        self, start: SupportsIndex = 0, stop: SupportsIndex | None = None
    ) -> None: ...
    def memory(self) -> dict[str, int]: ...
