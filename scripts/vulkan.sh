#!/bin/sh
# Runs a command with what llama.cpp's Vulkan backend needs to be built and to run, installed where it is missing. Where there is no GPU, lets
# llama.cpp take Mesa's software device, which it passes over unless it is told to: twice, so that layers are spread over two devices.
set -eu

missing=""
[ -e /usr/include/vulkan/vulkan.hpp ] || missing="$missing libvulkan-dev"
[ -e /usr/share/cmake/SPIRV-Headers/SPIRV-HeadersConfig.cmake ] || missing="$missing spirv-headers"
command -v glslc >/dev/null || missing="$missing glslc"
command -v vulkaninfo >/dev/null || missing="$missing vulkan-tools"
have_driver() {
    for file in /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json; do
        [ -e "$file" ] && return 0
    done
    return 1
}
have_driver || missing="$missing mesa-vulkan-drivers"
# shellcheck disable=SC2086 # a list of package names
sh "$(dirname "$0")/packages.sh" "llama.cpp's Vulkan backend" $missing

if ! vulkaninfo --summary 2>/dev/null | grep deviceType | grep -qv TYPE_CPU; then
    export GGML_VK_VISIBLE_DEVICES="${GGML_VK_VISIBLE_DEVICES:-0,0}"
fi
exec "$@"
