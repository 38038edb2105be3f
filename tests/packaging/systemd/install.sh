# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# The package is installed, upgraded with a lease held, removed and purged.

# package_prepare VERSION: copies the built packages, and makes a next version of mountatd's.
package_prepare() {
        mkdir "$machine_root/srv/packages"
        cp "$build_package"/*_"$1"_*.deb "$machine_root/srv/packages"
        package_make_next mountatd "$1"
}

# package_make_next PACKAGE VERSION: makes PACKAGE.next.deb, of version VERSION+next.
package_make_next() {
        local work=$machine_area/next

        dpkg-deb --raw-extract "$build_package/$1_$2_$(dpkg --print-architecture).deb" "$work"
        sed -i "s/^Version: .*/Version: $2+next/" "$work/DEBIAN/control"
        dpkg-deb -Znone --build "$work" "$machine_root/srv/packages/$1.next.deb" >/dev/null
        rm -r "$work"
}

# A user in the group, one who isn't, and the owner of the directory.
package_make_users() {
        machine_run useradd --create-home runner
        machine_run useradd --create-home stranger
        machine_run useradd --create-home ci
        machine_run usermod -aG mountat runner
        machine_run install -d -o runner /srv/root /srv/root/proc /srv/root/sys
        machine_run install -d /srv/builds /srv/builds/1 /srv/builds/1/proc
}

package_installs() {
        machine_run sh -c 'dpkg --install /srv/packages/mountatd_*.deb'
        tap_equal "$(machine_run dpkg --audit)" ""
        machine_run getent group mountat
}

package_enables_the_socket() {
        tap_equal "$(machine_run systemctl is-enabled mountatd.socket)" enabled
        tap_equal "$(machine_run systemctl is-active mountatd.socket)" active
        tap_equal "$(machine_show ActiveState)" inactive
        tap_equal "$(machine_run stat -c '%U %G %a' /run/mountatd /run/mountatd/socket)" \
                $'root root 711\nroot mountat 660'
}

package_upgrades() {
        local before ids

        holder_start
        before=$(machine_show MainPID)
        ids=$(mount_ids)
        machine_run dpkg --install /srv/packages/mountatd.next.deb
        tap_contains "$(machine_run dpkg-query --show mountatd)" "+next"
        [[ $(machine_show MainPID) != "$before" ]]
        machine_await 10 holder_holds 1
        tap_equal "$(mount_ids)" "$ids"
        holder_end
        tap_equal "$(mounts)" ""
}

package_removes() {
        holder_start
        machine_run dpkg --remove mountatd
        tap_equal "$(mounts)" ""
        tap_equal "$(machine_show LoadState mountatd.service)" masked
        tap_equal "$(machine_run systemctl is-active mountatd.socket)" inactive || true
        machine_run test ! -e /run/mountatd
        machine_run test -e /etc/default/mountatd
        machine_run systemctl kill --signal=KILL holder.service || true
        machine_await 30 holder_is_gone
}

# No links, masks or configuration stay, only the group.
package_purges() {
        machine_run dpkg --purge mountatd
        tap_equal "$(machine_run find /etc /var/lib/systemd -name '*mountat*' \
                ! -path '*/dbus-1/*' ! -path '*/mountatd.service.d*' \
                ! -path '*/sysusers.d/*' ! -path '*/rules.d/*')" ""
        machine_run getent group mountat
}
