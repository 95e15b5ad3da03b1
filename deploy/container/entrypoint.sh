#!/usr/bin/env bash
# What the images start with.
#
#   entrypoint.sh export                 fill the repository of this image, family and GPU, unless it is there
#   entrypoint.sh resonance serve …      serve that repository
#   entrypoint.sh resonance gateway …    the gateway alone, before a Triton elsewhere
#   entrypoint.sh COMMAND …              anything else, as it is
#
# The gateway listens on every interface of the container, where it refuses to start without TLS
# (--tls-cert FILE --tls-key FILE) or --insecure-anywhere. Without a gateway Triton, which has no login, stays on the
# container's loopback. Metrics are served to the container's network either way.
#
# A repository is a folder of $RESONANCE_MODELS whose name tells what it was made of: the image's version and
# sources, the family, the target, further options, and GPUs and TensorRT of this machine. Another image or another
# GPU has another folder; the earlier one stays, so a rollback finds its models as they were.
#
#   RESONANCE_MODELS            the volume                                              [/models]
#   RESONANCE_TARGET            gpu, aoti or cpu; another --target is refused           [gpu]
#   RESONANCE_FAMILY            the family of encoders                                  [tiny]
#   RESONANCE_EXPORT_OPTIONS    more options of `resonance export`, split at spaces
#   RESONANCE_SPOOL             where uploads are kept while they are read              [/spool]
#   RESONANCE_READY_FILE        holds a line while the server takes requests            [/tmp/resonance-ready]
#   RESONANCE_START_TIMEOUT_S   until every model has to have answered                  [540]
#   RESONANCE_TRITON_LOG        where Triton's log is kept over its restarts            [/tmp/triton.log]
set -euo pipefail

models=${RESONANCE_MODELS:-/models}
target=${RESONANCE_TARGET:-gpu}
family=${RESONANCE_FAMILY:-tiny}
options=${RESONANCE_EXPORT_OPTIONS:-}
spool=${RESONANCE_SPOOL:-/spool}
ready_file=${RESONANCE_READY_FILE:-/tmp/resonance-ready}
start_timeout_s=${RESONANCE_START_TIMEOUT_S:-540}
triton_log=${RESONANCE_TRITON_LOG:-/tmp/triton.log}
image=${RESONANCE_IMAGE:-/opt/resonance} # where the image has `source` and `model_repository`

die() {
  echo "entrypoint: $*" >&2
  exit 1
}

# The folder of this image, family and machine; every word of it is in the name or hashed into its end.
repository() {
  local version source probe digest
  source=$(<"$image/source") || die "$image/source is missing, which the image's build writes"
  version=$(python -c 'import importlib.metadata as m; print(m.version("resonance"))')
  probe=$(python -c 'import resonance.serving.gpu_probe as p; print(p.gpus(), p.tensorrt_version("11"))')
  digest=$(printf '%s\n' "$version" "$source" "$family" "$target" "$options" "$probe" | sha256sum)
  echo "$models/$family-$target-$version-${digest:0:12}"
}

# Uploads are kept there while they are read.
check_spool() {
  [ -w "$spool" ] || die "$spool is not writable by user $(id -u): mount a volume that it may write to there, \
or set RESONANCE_SPOOL"
}

export_models() {
  local folder made kind
  folder=$(repository)
  if [ -d "$folder" ]; then
    echo "entrypoint: $folder is there, nothing to export"
    return
  fi
  case $target in
    gpu) kind=tensorrt ;;
    aoti) kind=aoti ;;
    cpu) kind=onnx ;;
    *) die "RESONANCE_TARGET is '$target', expected gpu, aoti or cpu" ;;
  esac
  case " $options" in
    *" --target"*) die "RESONANCE_EXPORT_OPTIONS has --target ('$options'), expected RESONANCE_TARGET alone to say it" ;;
  esac
  [ -w "$models" ] || die "$models is not writable by user $(id -u): chown $(id -u):$(id -g) the folder. In Kubernetes \
fsGroup does so, but most volumes of ReadWriteMany, such as NFS, pass it over: chown the folder there once, or take a \
storage class that mounts it for this user"
  # Exports that were killed; one takes minutes, so none of them goes on after a day.
  find "$models" -mindepth 1 -maxdepth 1 -type d -name '.exporting-??????' -mmin +1440 \
    -exec echo "entrypoint: removing what a killed export left:" {} \; -exec rm -rf {} + \
    || echo "entrypoint: not all of it could be removed" >&2
  # Made apart and renamed: a server never sees half of it, and of two that export at once the second is dropped.
  made=$(mktemp --directory "$models/.exporting-XXXXXX")
  # shellcheck disable=SC2064  # the folder of now
  trap "rm -rf '$made'" EXIT
  cp -R "$image/model_repository/." "$made/"
  # shellcheck disable=SC2086  # options are words
  resonance export "$family" --model-repository "$made" --target "$kind" $options
  chmod 0755 "$made"
  if mv --no-target-directory "$made" "$folder" 2>/dev/null; then
    echo "entrypoint: exported $folder"
  elif [ -d "$folder" ]; then
    echo "entrypoint: another process exported $folder meanwhile; this one is dropped"
  else
    die "$made could not be renamed to $folder"
  fi
}

# `resonance serve` in this container: what is ours comes first, so that a caller's word is the last.
serve() {
  local folder asked="" own=() words=() front=()
  folder=$(repository)
  [ -d "$folder" ] || die "$folder is missing; run the export image on this machine with the same volume and \
RESONANCE_ variables: it makes the models of this image, family and GPU"
  own=(--model-repository "$folder" --metrics-host 0.0.0.0 --ready-file "$ready_file")
  own+=(--log-file "$triton_log" --start-timeout "$start_timeout_s")
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
      --target) asked=${2:-} ;;
      --target=*) asked=${1#*=} ;;
    esac
    # the folder is of the one, and configs of the other would name models that are not in it
    [ "${asked:-$target}" = "$target" ] || die "--target is '$asked' and RESONANCE_TARGET '$target', for which the \
models are made; expected one: leave --target out"
    words+=("$1")
    shift
  done
  [ -n "$asked" ] || own+=(--target "$target")
  case " ${words[*]} " in
    *" --gateway "*)
      check_spool
      own+=(--host 0.0.0.0)
      shift $(($# > 0 ? 1 : 0)) # the --, after which everything is the gateway's
      front=(-- --spool-folder "$spool")
      ;;
  esac
  exec resonance serve "${own[@]}" "${words[@]}" "${front[@]}" "$@"
}

# `resonance gateway` in this container, the caller's word last as well.
gateway() {
  check_spool
  exec resonance gateway --host 0.0.0.0 --metrics-host 0.0.0.0 --spool-folder "$spool" --ready-file "$ready_file" "$@"
}

case ${1:-} in
  export)
    export_models
    ;;
  resonance)
    case ${2:-} in
      serve | gateway) "${@:2}" ;;
    esac
    exec "$@"
    ;;
  "")
    die "no command; expected 'export' or 'resonance serve --gateway'"
    ;;
  *)
    exec "$@"
    ;;
esac
