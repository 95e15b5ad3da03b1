#!/usr/bin/env bash
# What the images start with.
#
#   entrypoint.sh export                 fill the repository of this image, family and GPU, unless it is there
#   entrypoint.sh resonance serve …      serve that repository
#   entrypoint.sh COMMAND …              anything else, as it is
#
# A repository is a folder of $RESONANCE_MODELS whose name tells what it was made of: the image's version and
# sources, the family, the target, further options, and GPUs and TensorRT of this machine. Another image or another
# GPU has another folder; the earlier one stays, so a rollback finds its models as they were.
#
#   RESONANCE_MODELS            the volume                                              [/models]
#   RESONANCE_TARGET            gpu, aoti or cpu                                        [gpu]
#   RESONANCE_FAMILY            the family of encoders                                  [tiny]
#   RESONANCE_EXPORT_OPTIONS    more options of `resonance export`, split at spaces
#   RESONANCE_READY_FILE        holds a line while the server takes requests            [/tmp/resonance-ready]
set -euo pipefail

models=${RESONANCE_MODELS:-/models}
target=${RESONANCE_TARGET:-gpu}
family=${RESONANCE_FAMILY:-tiny}
options=${RESONANCE_EXPORT_OPTIONS:-}
ready_file=${RESONANCE_READY_FILE:-/tmp/resonance-ready}
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
  [ -w "$models" ] || die "$models is not writable by user $(id -u): give the volume to it, or set fsGroup"
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

case ${1:-} in
  export)
    export_models
    ;;
  resonance)
    if [ "${2:-}" = serve ]; then
      folder=$(repository)
      [ -d "$folder" ] || die "$folder is missing; run the export image on this machine with the same volume and \
RESONANCE_ variables: it makes the models of this image, family and GPU"
      shift 2
      exec resonance serve --model-repository "$folder" --host 0.0.0.0 --ready-file "$ready_file" "$@"
    fi
    exec "$@"
    ;;
  "")
    die "no command; expected 'export' or 'resonance serve --target $target'"
    ;;
  *)
    exec "$@"
    ;;
esac
