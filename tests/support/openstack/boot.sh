#!/bin/sh
# Boots an instance: a machine of its own as far as sshd, its user, its devices and what it writes are concerned. Runs in
# a mount namespace that ends with it.
set -e
home=$1
mount -t tmpfs -o mode=755 tmpfs "$home/dev"
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
    IFS=: read -r name major minor <<END
$node
END
    mknod -m 666 "$home/dev/$name" c "$major" "$minor"
done
mkdir -p "$home/dev/disk/by-id"
mkdir -m 1777 "$home/dev/shm"
ln -s /proc/self/fd "$home/dev/fd"
ln -s fd/0 "$home/dev/stdin"
ln -s fd/1 "$home/dev/stdout"
ln -s fd/2 "$home/dev/stderr"
for file in passwd shadow group sudoers; do
    mount --bind "$home/$file" "/etc/$file"
done
mount -t tmpfs -o mode=755 tmpfs /home
mkdir -p /home/debian/.ssh
cp "$home/authorized_keys" /home/debian/.ssh/
chmod 700 /home/debian/.ssh
chown -R 4711:4711 /home/debian
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/sshd
mount --bind "$home/dev" /dev
# Its configuration stands where sshd has it.
mount --bind "$home" /etc/ssh
exec /usr/sbin/sshd -D -e -f "$home/sshd_config"
