#!/bin/sh
# Boots systemd with a copy of this host's files, in namespaces of its own (booted_systemd.py).
#
#   boot.sh ROOM PROGRAM [GROUP]...
#
# ROOM is an empty directory, PROGRAM becomes /usr/bin/strongroom, and GROUPs are its cgroups, one of each hierarchy. What is
# written goes to memory. Of all this only the network is the host's, where the sandbox listens. Everything ends with process 1.
set -eu

if [ "${3:-}" != --inside ]; then
    room=$1 program=$2
    shift 2
    for group; do echo $$ >"$group/cgroup.procs"; done
    exec unshare --mount --propagation private --pid --fork --kill-child --cgroup --uts --ipc \
        "$0" "$room" "$program" --inside "$@"
fi

room=$1 program=$2
shift 3
mount -t tmpfs -o mode=755 room "$room"
mkdir "$room/upper" "$room/work" "$room/root"
mount -t overlay -o "lowerdir=/,upperdir=$room/upper,workdir=$room/work" overlay "$room/root"
cd "$room/root"

# What systemd starts: a journal that asks the kernel nothing, D-Bus for commands by hand where there is one, and none of what this
# host has enabled.
units=usr/lib/systemd/system
rm -f $units/systemd-journald-audit.socket
rm -rf etc/systemd/system etc/systemd/*.conf.d usr/lib/systemd/system-generators $units/*.wants etc/strongroom etc/credstore
mkdir -p etc/systemd/system $units/sysinit.target.wants etc/strongroom
mkdir -m 700 etc/credstore
mkdir $units/sockets.target.wants
ln -s ../systemd-journald.service $units/sysinit.target.wants/
[ ! -e $units/dbus.socket ] || ln -s ../dbus.socket $units/sockets.target.wants/
echo strongroom-test >etc/hostname

mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 dev dev
for device in null zero full random urandom tty; do cp -a "/dev/$device" dev/; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs shm dev/shm
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
# Nothing here is for the kernel of the host.
for place in proc/sys proc/sysrq-trigger; do
    [ -e $place ] || continue
    mount --bind $place $place
    mount -o remount,bind,ro $place
done

# The hierarchies as the host has them, from the own cgroup down.
cgroups() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2, $3, $4 }' /proc/self/mounts; }
hierarchies=$(cgroups)
controllers=$(awk '!/^#/ { print $1 }' proc/cgroups | paste -sd '|' -)
# Several groups: cgroups of version 1, each hierarchy mounted below a directory.
if [ $# -gt 1 ]; then mount -t tmpfs -o mode=755 cgroup sys/fs/cgroup; fi
echo "$hierarchies" | while read -r place kind options; do
    case " $* " in *" $place/"*) ;; *) continue ;; esac
    mkdir -p ".$place"
    # Among the options the controllers, or the hierarchy's name, say which it is.
    which=$(echo "$options" | tr , '\n' | grep -E "^name=|^($controllers)\$" | paste -sd, -)
    mount -t "$kind" ${which:+-o "$which"} "$kind" ".$place"
done
if [ $# -gt 1 ]; then mount -o remount,ro sys/fs/cgroup; fi

touch usr/bin/strongroom
mount --bind "$program" usr/bin/strongroom

pivot_root . mnt
cd /
umount -l /mnt
# Process 1 shares its mounts, except in namespaces, where that is left to their maker: without it nobody here sees the credentials
# that systemd mounts for the unit.
mount --make-rshared /
# The rest is the host's still: no modules, no clock, no ports of the machine.
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio \
    /usr/lib/systemd/systemd --unit=basic.target --show-status=false --log-target=journal
