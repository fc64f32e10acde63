#!/bin/sh
# Runs in the box: a machine with KVM, device-mapper and whole control groups. Ends with 1 when a step failed.
export PATH=/payload/bin:$PATH
export WRENN_DIR=/payload/lib WRENN_SLOTS=1-99 WRENN_SLOT_POOL=1
failed=0

step() {
    name=$1
    shift
    echo "=== begin: $name"
    began=$(cut -d. -f1 /proc/uptime)
    if "$@"; then outcome=ok; else outcome="FAILED with $?"; failed=1; fi
    echo "=== $outcome: $name, $(($(cut -d. -f1 /proc/uptime) - began)) s"
}

modprobe -a kvm_amd dm_mod dm_snapshot loop tun veth nf_tables
ip link set lo up
# The way out of a host; nobody is behind it.
ip link add dummy0 type dummy && ip address add 192.0.2.1/24 dev dummy0 && ip link set dummy0 up
ip route add default via 192.0.2.2
echo "nameserver 192.0.2.2" > /etc/resolv.conf
# As a service manager does: the agent may hand out these controllers.
echo "+cpu +memory +pids +io" > /sys/fs/cgroup/cgroup.subtree_control

step "this is a KVM host" test -c /dev/kvm
step "device-mapper is here" test -c /dev/mapper/control
for test in /payload/tests/*; do
    # What a slot costs is no question to an emulated CPU.
    [ -x "$test" ] && step "native tests of $(basename "$test")" "$test" --test-threads=1 --skip net5_a_slot_costs_little
done
cd /payload/checkout || exit 1
step "the agent's disks on device-mapper, and Firecracker's driver" env CI=1 NO_COLOR=1 TMPDIR=/payload node node_modules/vitest/vitest.mjs run --config e2e/kvm-host/vitest.config.ts
step "wrenn-agent doctor" node agent/src/main.ts doctor
step "wrenn-agent demo with QEMU" env WRENN_VMM=qemu node agent/src/main.ts demo
if command -v firecracker > /dev/null; then
    # Nothing is named: where there is a Firecracker that runs, it is chosen, with device-mapper.
    step "the agent's life with Firecracker on device-mapper" env WRENN_TEST_LOG=1 node e2e/kvm-host/agent-smoke.ts /payload
else
    echo "=== skipped: Firecracker, since there is no such program on the machine that runs the box"
    step "the agent's life with QEMU on device-mapper" env WRENN_DISKS=dm WRENN_TEST_LOG=1 node e2e/kvm-host/agent-smoke.ts /payload
fi
exit $failed
