from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Modality(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODALITY_UNSPECIFIED: _ClassVar[Modality]
    MODALITY_VISUAL: _ClassVar[Modality]
    MODALITY_AUDIO: _ClassVar[Modality]
    MODALITY_TRANSCRIPT: _ClassVar[Modality]

class Sampling(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAMPLING_UNSPECIFIED: _ClassVar[Sampling]
    SAMPLING_KEYFRAMES: _ClassVar[Sampling]
    SAMPLING_UNIFORM: _ClassVar[Sampling]

class SampledBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAMPLED_BY_UNSPECIFIED: _ClassVar[SampledBy]
    SAMPLED_BY_KEYFRAMES: _ClassVar[SampledBy]
    SAMPLED_BY_BORROWED: _ClassVar[SampledBy]
    SAMPLED_BY_DECODED: _ClassVar[SampledBy]
    SAMPLED_BY_UNIFORM: _ClassVar[SampledBy]
    SAMPLED_BY_IMAGE: _ClassVar[SampledBy]

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    MODE_ENCODED: _ClassVar[Mode]
    MODE_FRAMES: _ClassVar[Mode]
    MODE_TEXT: _ClassVar[Mode]
    MODE_SUBTITLES: _ClassVar[Mode]

class SampleFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAMPLE_FORMAT_UNSPECIFIED: _ClassVar[SampleFormat]
    SAMPLE_FORMAT_S16LE: _ClassVar[SampleFormat]
    SAMPLE_FORMAT_F32LE: _ClassVar[SampleFormat]

class ModelState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_STATE_UNSPECIFIED: _ClassVar[ModelState]
    MODEL_STATE_SERVING: _ClassVar[ModelState]
    MODEL_STATE_NOT_SERVING: _ClassVar[ModelState]
MODALITY_UNSPECIFIED: Modality
MODALITY_VISUAL: Modality
MODALITY_AUDIO: Modality
MODALITY_TRANSCRIPT: Modality
SAMPLING_UNSPECIFIED: Sampling
SAMPLING_KEYFRAMES: Sampling
SAMPLING_UNIFORM: Sampling
SAMPLED_BY_UNSPECIFIED: SampledBy
SAMPLED_BY_KEYFRAMES: SampledBy
SAMPLED_BY_BORROWED: SampledBy
SAMPLED_BY_DECODED: SampledBy
SAMPLED_BY_UNIFORM: SampledBy
SAMPLED_BY_IMAGE: SampledBy
MODE_UNSPECIFIED: Mode
MODE_ENCODED: Mode
MODE_FRAMES: Mode
MODE_TEXT: Mode
MODE_SUBTITLES: Mode
SAMPLE_FORMAT_UNSPECIFIED: SampleFormat
SAMPLE_FORMAT_S16LE: SampleFormat
SAMPLE_FORMAT_F32LE: SampleFormat
MODEL_STATE_UNSPECIFIED: ModelState
MODEL_STATE_SERVING: ModelState
MODEL_STATE_NOT_SERVING: ModelState

class GetSpaceRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSpaceResponse(_message.Message):
    __slots__ = ("fingerprint", "name", "trained", "descriptor_json")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_JSON_FIELD_NUMBER: _ClassVar[int]
    fingerprint: str
    name: str
    trained: bool
    descriptor_json: str
    def __init__(self, fingerprint: _Optional[str] = ..., name: _Optional[str] = ..., trained: bool = ..., descriptor_json: _Optional[str] = ...) -> None: ...

class EmbedMediaRequest(_message.Message):
    __slots__ = ("start", "stored", "chunk", "frame", "sound", "cue", "mark")
    START_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    SOUND_FIELD_NUMBER: _ClassVar[int]
    CUE_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    start: EmbedMediaStart
    stored: StoredSegments
    chunk: Chunk
    frame: Frame
    sound: Sound
    cue: Cue
    mark: Mark
    def __init__(self, start: _Optional[_Union[EmbedMediaStart, _Mapping]] = ..., stored: _Optional[_Union[StoredSegments, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ..., sound: _Optional[_Union[Sound, _Mapping]] = ..., cue: _Optional[_Union[Cue, _Mapping]] = ..., mark: _Optional[_Union[Mark, _Mapping]] = ...) -> None: ...

class EmbedMediaStart(_message.Message):
    __slots__ = ("media_id", "mode", "modalities", "sampling", "expected_fingerprint", "idempotency_key", "live", "rolling_title_segments", "size_bytes", "subtitles")
    MEDIA_ID_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    ROLLING_TITLE_SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SUBTITLES_FIELD_NUMBER: _ClassVar[int]
    media_id: str
    mode: Mode
    modalities: _containers.RepeatedScalarFieldContainer[Modality]
    sampling: Sampling
    expected_fingerprint: str
    idempotency_key: str
    live: bool
    rolling_title_segments: int
    size_bytes: int
    subtitles: SubtitleFile
    def __init__(self, media_id: _Optional[str] = ..., mode: _Optional[_Union[Mode, str]] = ..., modalities: _Optional[_Iterable[_Union[Modality, str]]] = ..., sampling: _Optional[_Union[Sampling, str]] = ..., expected_fingerprint: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., live: bool = ..., rolling_title_segments: _Optional[int] = ..., size_bytes: _Optional[int] = ..., subtitles: _Optional[_Union[SubtitleFile, _Mapping]] = ...) -> None: ...

class SubtitleFile(_message.Message):
    __slots__ = ("format", "data")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    format: str
    data: bytes
    def __init__(self, format: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class StoredSegments(_message.Message):
    __slots__ = ("segments", "fingerprint")
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[Segment]
    fingerprint: str
    def __init__(self, segments: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("offset_bytes", "data")
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset_bytes: int
    data: bytes
    def __init__(self, offset_bytes: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("time_s", "width_px", "height_px", "rgb")
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    RGB_FIELD_NUMBER: _ClassVar[int]
    time_s: float
    width_px: int
    height_px: int
    rgb: bytes
    def __init__(self, time_s: _Optional[float] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., rgb: _Optional[bytes] = ...) -> None: ...

class Sound(_message.Message):
    __slots__ = ("time_s", "sample_rate_hz", "channels", "format", "data")
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    time_s: float
    sample_rate_hz: int
    channels: int
    format: SampleFormat
    data: bytes
    def __init__(self, time_s: _Optional[float] = ..., sample_rate_hz: _Optional[int] = ..., channels: _Optional[int] = ..., format: _Optional[_Union[SampleFormat, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Cue(_message.Message):
    __slots__ = ("start_s", "end_s", "text")
    START_S_FIELD_NUMBER: _ClassVar[int]
    END_S_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    start_s: float
    end_s: float
    text: str
    def __init__(self, start_s: _Optional[float] = ..., end_s: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class Mark(_message.Message):
    __slots__ = ("modality", "time_s")
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    modality: Modality
    time_s: float
    def __init__(self, modality: _Optional[_Union[Modality, str]] = ..., time_s: _Optional[float] = ...) -> None: ...

class EmbedMediaResponse(_message.Message):
    __slots__ = ("accepted", "info", "segment", "progress", "title")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    accepted: EmbedMediaAccepted
    info: MediaInfo
    segment: Segment
    progress: Progress
    title: Title
    def __init__(self, accepted: _Optional[_Union[EmbedMediaAccepted, _Mapping]] = ..., info: _Optional[_Union[MediaInfo, _Mapping]] = ..., segment: _Optional[_Union[Segment, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., title: _Optional[_Union[Title, _Mapping]] = ...) -> None: ...

class EmbedMediaAccepted(_message.Message):
    __slots__ = ("fingerprint", "space_name", "trained", "sampling", "spooled", "first_index")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SPACE_NAME_FIELD_NUMBER: _ClassVar[int]
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    SPOOLED_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    fingerprint: str
    space_name: str
    trained: bool
    sampling: Sampling
    spooled: bool
    first_index: int
    def __init__(self, fingerprint: _Optional[str] = ..., space_name: _Optional[str] = ..., trained: bool = ..., sampling: _Optional[_Union[Sampling, str]] = ..., spooled: bool = ..., first_index: _Optional[int] = ...) -> None: ...

class MediaInfo(_message.Message):
    __slots__ = ("container", "duration_s", "codecs", "left_out")
    class CodecsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LeftOutEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    DURATION_S_FIELD_NUMBER: _ClassVar[int]
    CODECS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    container: str
    duration_s: float
    codecs: _containers.ScalarMap[str, str]
    left_out: _containers.ScalarMap[str, str]
    def __init__(self, container: _Optional[str] = ..., duration_s: _Optional[float] = ..., codecs: _Optional[_Mapping[str, str]] = ..., left_out: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Presence(_message.Message):
    __slots__ = ("visual", "audio", "transcript")
    VISUAL_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    visual: bool
    audio: bool
    transcript: bool
    def __init__(self, visual: bool = ..., audio: bool = ..., transcript: bool = ...) -> None: ...

class Signal(_message.Message):
    __slots__ = ("value", "method", "confidence")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    value: float
    method: str
    confidence: float
    def __init__(self, value: _Optional[float] = ..., method: _Optional[str] = ..., confidence: _Optional[float] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("index", "start_s", "end_s", "present", "vector", "signals", "axes", "sampled_by", "frame_times_s")
    class SignalsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Signal
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Signal, _Mapping]] = ...) -> None: ...
    class AxesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    INDEX_FIELD_NUMBER: _ClassVar[int]
    START_S_FIELD_NUMBER: _ClassVar[int]
    END_S_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_BY_FIELD_NUMBER: _ClassVar[int]
    FRAME_TIMES_S_FIELD_NUMBER: _ClassVar[int]
    index: int
    start_s: float
    end_s: float
    present: Presence
    vector: _containers.RepeatedScalarFieldContainer[float]
    signals: _containers.MessageMap[str, Signal]
    axes: _containers.ScalarMap[str, float]
    sampled_by: SampledBy
    frame_times_s: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, index: _Optional[int] = ..., start_s: _Optional[float] = ..., end_s: _Optional[float] = ..., present: _Optional[_Union[Presence, _Mapping]] = ..., vector: _Optional[_Iterable[float]] = ..., signals: _Optional[_Mapping[str, Signal]] = ..., axes: _Optional[_Mapping[str, float]] = ..., sampled_by: _Optional[_Union[SampledBy, str]] = ..., frame_times_s: _Optional[_Iterable[float]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("received_bytes", "segments", "media_s")
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    MEDIA_S_FIELD_NUMBER: _ClassVar[int]
    received_bytes: int
    segments: int
    media_s: float
    def __init__(self, received_bytes: _Optional[int] = ..., segments: _Optional[int] = ..., media_s: _Optional[float] = ...) -> None: ...

class ArcPoint(_message.Message):
    __slots__ = ("time_s", "value")
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    time_s: float
    value: float
    def __init__(self, time_s: _Optional[float] = ..., value: _Optional[float] = ...) -> None: ...

class Arc(_message.Message):
    __slots__ = ("points",)
    POINTS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[ArcPoint]
    def __init__(self, points: _Optional[_Iterable[_Union[ArcPoint, _Mapping]]] = ...) -> None: ...

class AxisValue(_message.Message):
    __slots__ = ("value", "low", "high")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    value: float
    low: str
    high: str
    def __init__(self, value: _Optional[float] = ..., low: _Optional[str] = ..., high: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("demux_ms", "decode_ms", "queue_ms", "inference_ms", "total_ms")
    DEMUX_MS_FIELD_NUMBER: _ClassVar[int]
    DECODE_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    demux_ms: float
    decode_ms: float
    queue_ms: float
    inference_ms: float
    total_ms: float
    def __init__(self, demux_ms: _Optional[float] = ..., decode_ms: _Optional[float] = ..., queue_ms: _Optional[float] = ..., inference_ms: _Optional[float] = ..., total_ms: _Optional[float] = ...) -> None: ...

class Title(_message.Message):
    __slots__ = ("media_id", "fingerprint", "vector", "present", "duration_s", "salience", "first_index", "arcs", "axes", "timing", "rolling", "damage")
    class ArcsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Arc
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Arc, _Mapping]] = ...) -> None: ...
    class AxesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: AxisValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[AxisValue, _Mapping]] = ...) -> None: ...
    MEDIA_ID_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    DURATION_S_FIELD_NUMBER: _ClassVar[int]
    SALIENCE_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    ARCS_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    ROLLING_FIELD_NUMBER: _ClassVar[int]
    DAMAGE_FIELD_NUMBER: _ClassVar[int]
    media_id: str
    fingerprint: str
    vector: _containers.RepeatedScalarFieldContainer[float]
    present: Presence
    duration_s: float
    salience: _containers.RepeatedScalarFieldContainer[float]
    first_index: int
    arcs: _containers.MessageMap[str, Arc]
    axes: _containers.MessageMap[str, AxisValue]
    timing: Timing
    rolling: bool
    damage: Damage
    def __init__(self, media_id: _Optional[str] = ..., fingerprint: _Optional[str] = ..., vector: _Optional[_Iterable[float]] = ..., present: _Optional[_Union[Presence, _Mapping]] = ..., duration_s: _Optional[float] = ..., salience: _Optional[_Iterable[float]] = ..., first_index: _Optional[int] = ..., arcs: _Optional[_Mapping[str, Arc]] = ..., axes: _Optional[_Mapping[str, AxisValue]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., rolling: bool = ..., damage: _Optional[_Union[Damage, _Mapping]] = ...) -> None: ...

class Damage(_message.Message):
    __slots__ = ("unreadable_packets", "missing_s", "late_frames", "late_sound_s", "late_cues")
    UNREADABLE_PACKETS_FIELD_NUMBER: _ClassVar[int]
    MISSING_S_FIELD_NUMBER: _ClassVar[int]
    LATE_FRAMES_FIELD_NUMBER: _ClassVar[int]
    LATE_SOUND_S_FIELD_NUMBER: _ClassVar[int]
    LATE_CUES_FIELD_NUMBER: _ClassVar[int]
    unreadable_packets: int
    missing_s: float
    late_frames: int
    late_sound_s: float
    late_cues: int
    def __init__(self, unreadable_packets: _Optional[int] = ..., missing_s: _Optional[float] = ..., late_frames: _Optional[int] = ..., late_sound_s: _Optional[float] = ..., late_cues: _Optional[int] = ...) -> None: ...

class EmbedQueryRequest(_message.Message):
    __slots__ = ("query_id", "parts", "weights", "expected_fingerprint")
    QUERY_ID_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    query_id: str
    parts: _containers.RepeatedCompositeFieldContainer[QueryPart]
    weights: Weights
    expected_fingerprint: str
    def __init__(self, query_id: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[QueryPart, _Mapping]]] = ..., weights: _Optional[_Union[Weights, _Mapping]] = ..., expected_fingerprint: _Optional[str] = ...) -> None: ...

class QueryPart(_message.Message):
    __slots__ = ("image", "sound", "text", "video", "weight")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    SOUND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    sound: bytes
    text: str
    video: bytes
    weight: float
    def __init__(self, image: _Optional[bytes] = ..., sound: _Optional[bytes] = ..., text: _Optional[str] = ..., video: _Optional[bytes] = ..., weight: _Optional[float] = ...) -> None: ...

class Weights(_message.Message):
    __slots__ = ("visual", "audio", "transcript")
    VISUAL_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    visual: float
    audio: float
    transcript: float
    def __init__(self, visual: _Optional[float] = ..., audio: _Optional[float] = ..., transcript: _Optional[float] = ...) -> None: ...

class EmbedQueryResponse(_message.Message):
    __slots__ = ("fingerprint", "vector", "unweighted", "present")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    UNWEIGHTED_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    fingerprint: str
    vector: _containers.RepeatedScalarFieldContainer[float]
    unweighted: _containers.RepeatedScalarFieldContainer[float]
    present: Presence
    def __init__(self, fingerprint: _Optional[str] = ..., vector: _Optional[_Iterable[float]] = ..., unweighted: _Optional[_Iterable[float]] = ..., present: _Optional[_Union[Presence, _Mapping]] = ...) -> None: ...

class FuseTitleRequest(_message.Message):
    __slots__ = ("media_id", "segments", "fingerprint")
    MEDIA_ID_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    media_id: str
    segments: _containers.RepeatedCompositeFieldContainer[Segment]
    fingerprint: str
    def __init__(self, media_id: _Optional[str] = ..., segments: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class FuseTitleResponse(_message.Message):
    __slots__ = ("title",)
    TITLE_FIELD_NUMBER: _ClassVar[int]
    title: Title
    def __init__(self, title: _Optional[_Union[Title, _Mapping]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ModelStatus(_message.Message):
    __slots__ = ("name", "state", "reason", "checked_s_ago")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHECKED_S_AGO_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: ModelState
    reason: str
    checked_s_ago: float
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[ModelState, str]] = ..., reason: _Optional[str] = ..., checked_s_ago: _Optional[float] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("fingerprint", "space_name", "models", "uploads", "live_feeds", "queries", "queued", "segments_in_flight", "spooled_bytes", "segments_per_s", "media_s_per_s", "refused", "abandoned", "uptime_s", "max_uploads")
    class RefusedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SPACE_NAME_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    UPLOADS_FIELD_NUMBER: _ClassVar[int]
    LIVE_FEEDS_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    SPOOLED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_PER_S_FIELD_NUMBER: _ClassVar[int]
    MEDIA_S_PER_S_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    ABANDONED_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    MAX_UPLOADS_FIELD_NUMBER: _ClassVar[int]
    fingerprint: str
    space_name: str
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    uploads: int
    live_feeds: int
    queries: int
    queued: int
    segments_in_flight: int
    spooled_bytes: int
    segments_per_s: float
    media_s_per_s: float
    refused: _containers.ScalarMap[str, int]
    abandoned: int
    uptime_s: float
    max_uploads: int
    def __init__(self, fingerprint: _Optional[str] = ..., space_name: _Optional[str] = ..., models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ..., uploads: _Optional[int] = ..., live_feeds: _Optional[int] = ..., queries: _Optional[int] = ..., queued: _Optional[int] = ..., segments_in_flight: _Optional[int] = ..., spooled_bytes: _Optional[int] = ..., segments_per_s: _Optional[float] = ..., media_s_per_s: _Optional[float] = ..., refused: _Optional[_Mapping[str, int]] = ..., abandoned: _Optional[int] = ..., uptime_s: _Optional[float] = ..., max_uploads: _Optional[int] = ...) -> None: ...
