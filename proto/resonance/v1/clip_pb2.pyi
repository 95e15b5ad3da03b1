from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Clip(_message.Message):
    __slots__ = ("codec", "extradata", "width_px", "height_px", "rotation_deg", "sample_aspect_num", "sample_aspect_den", "packets", "frame_bucket", "pixel_format", "colour_matrix", "colour_range", "mirrored")
    CODEC_FIELD_NUMBER: _ClassVar[int]
    EXTRADATA_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    ROTATION_DEG_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_ASPECT_NUM_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_ASPECT_DEN_FIELD_NUMBER: _ClassVar[int]
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    FRAME_BUCKET_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    COLOUR_MATRIX_FIELD_NUMBER: _ClassVar[int]
    COLOUR_RANGE_FIELD_NUMBER: _ClassVar[int]
    MIRRORED_FIELD_NUMBER: _ClassVar[int]
    codec: str
    extradata: bytes
    width_px: int
    height_px: int
    rotation_deg: int
    sample_aspect_num: int
    sample_aspect_den: int
    packets: _containers.RepeatedCompositeFieldContainer[ClipPacket]
    frame_bucket: int
    pixel_format: str
    colour_matrix: int
    colour_range: int
    mirrored: bool
    def __init__(self, codec: _Optional[str] = ..., extradata: _Optional[bytes] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., rotation_deg: _Optional[int] = ..., sample_aspect_num: _Optional[int] = ..., sample_aspect_den: _Optional[int] = ..., packets: _Optional[_Iterable[_Union[ClipPacket, _Mapping]]] = ..., frame_bucket: _Optional[int] = ..., pixel_format: _Optional[str] = ..., colour_matrix: _Optional[int] = ..., colour_range: _Optional[int] = ..., mirrored: bool = ...) -> None: ...

class ClipPacket(_message.Message):
    __slots__ = ("time_s", "data")
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    time_s: float
    data: bytes
    def __init__(self, time_s: _Optional[float] = ..., data: _Optional[bytes] = ...) -> None: ...
