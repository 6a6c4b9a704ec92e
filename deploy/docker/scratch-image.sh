#!/usr/bin/env bash
# scratch-image.sh EXECUTABLE DESTINATION: the image of deploy/docker/Dockerfile without a container engine and without a
# network: from this machine's C library (a Debian), put together by buildah. DESTINATION is any that `buildah push` takes:
#   deploy/docker/scratch-image.sh dist/route-gateway docker-archive:route-gateway.tar:route-gateway:latest
#   deploy/docker/scratch-image.sh dist/route-gateway docker://registry.example/route-gateway:latest
# Everything else that it makes is in a temporary directory and removed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
executable=$1
destination=$2

work=$(mktemp -d)
# Its own storage: an interrupted run leaves nothing in the machine's.
storage() { buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }
trap 'storage rm --all >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

sh "$here/rootfs.sh" "$executable" "$work/rootfs"
# HEALTHCHECK exists only in Docker's format.
container=$(storage from --format docker scratch)
storage copy --quiet --chown 0:0 "$container" "$work/rootfs" / >/dev/null

# What deploy/docker/Dockerfile says after FROM scratch (a test compares the two).
storage config \
  --user 65532:65532 \
  --port 80/tcp \
  --stop-signal SIGTERM \
  --healthcheck 'CMD /usr/local/bin/route-gateway healthcheck' \
  --healthcheck-interval 10s --healthcheck-timeout 3s --healthcheck-start-period 5s --healthcheck-retries 3 \
  --entrypoint '["/usr/local/bin/route-gateway"]' \
  --cmd serve \
  "$container"
image=$(storage commit --quiet --format docker "$container")
storage push --quiet --format docker "$image" "$destination" >/dev/null
echo "made $destination"
