#!/bin/sh
# The first process of the virtual machine: it runs /project/guest.sh, whose standard output is the second serial line.
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1
mountpoint -q /proc || mount -t proc proc /proc
mountpoint -q /sys || mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mountpoint -q /run || mount -t tmpfs tmpfs /run
mkdir -p /dev/pts /dev/shm /run/netns
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t debugfs debugfs /sys/kernel/debug
mount /dev/vdb /project
ip link set lo up
stty -F /dev/ttyS1 raw -echo
cd /project && sh ./guest.sh > /dev/ttyS1
echo "ended: $?" > /dev/ttyS1
sleep 1
echo b > /proc/sysrq-trigger # QEMU ends instead of a reboot (-no-reboot)
