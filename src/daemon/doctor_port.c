/* The addresses to listen on: free, ours already, or held by somebody else. */
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/doctor_check.h"
#include "daemon/doctor_file.h"
#include "daemon/doctor_text.h"
#include "version.h"

/* --- trying -------------------------------------------------------------------------------------
 */

/* Binds as serve does, but without SO_REUSEPORT: with it a second program of the same user would
 * get the address too. Nothing listens, so no client is met. Returns 0 or errno. */
static int try_address(const struct ps_address *at)
{
    int on = 1;
    int fd = socket(at->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)&at->storage;
        int only = IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr) ? 0 : 1;
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    }
    int error = bind(fd, (const struct sockaddr *)&at->storage, at->len) != 0 ? errno : 0;
    close(fd);
    return error;
}

/* Every address is reached at loopback. */
static struct ps_address reachable(const struct ps_address *at)
{
    struct ps_address to = *at;
    struct sockaddr_in *in = (void *)&to.storage;
    struct sockaddr_in6 *in6 = (void *)&to.storage;
    if (to.storage.ss_family == AF_INET && in->sin_addr.s_addr == htonl(INADDR_ANY)) {
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else if (to.storage.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr)) {
        in6->sin6_addr = in6addr_loopback;
    }
    return to;
}

static void ask_port(struct ps_doctor *doctor, struct ps_doctor_port *port)
{
    char text[PS_ADDRESS_TEXT];
    struct ps_address to = reachable(&port->address);
    const char *scheme = doctor->config->tls.certificate != NULL ? "https" : "http";
    struct ps_doctor_probe *probe = ps_doctor_new_probe(doctor);
    if (probe != NULL && asprintf(&probe->url, "%s://%s", scheme, ps_address_text(&to, text)) < 0) {
        probe->url = NULL;
        doctor->probe_count--;
        probe = NULL;
    }
    port->self = probe;
}

static void find_list(struct ps_doctor *doctor, const struct ps_option_strings *listen,
                      const char *name, bool is_default)
{
    for (size_t i = 0; i < listen->count && doctor->port_count < PS_DOCTOR_PORTS; i++) {
        struct ps_doctor_port *port = &doctor->ports[doctor->port_count];
        if (ps_address_parse(ps_str_from(listen->items[i]), &port->address) != PS_OK) {
            continue; /* said by the configuration's check */
        }
        port->text = listen->items[i];
        port->is_default = is_default;
        snprintf(port->field, sizeof port->field, "%s[%zu]", name, i);
        doctor->port_count++;
        port->error = try_address(&port->address);
        if (port->error == EADDRINUSE) {
            ps_doctor_find_holder(&port->address, &port->holder);
            ask_port(doctor, port);
        }
    }
}

void ps_doctor_find_ports(struct ps_doctor *doctor)
{
    find_list(doctor, &doctor->config->listen, "listen", doctor->path == NULL);
    find_list(doctor, &doctor->config->admin.listen, "admin.listen", false);
}

/* --- judging ------------------------------------------------------------------------------------
 */

static void say_who(const struct ps_doctor_holder *holder, char *out, size_t size)
{
    if (holder->pid > 0) {
        snprintf(out, size, "%s (process %d)", holder->name, (int)holder->pid);
    } else if (holder->found) {
        snprintf(out, size, "a program of user %ju", (uintmax_t)holder->uid);
    } else {
        snprintf(out, size,
                 "a program in another container or network namespace, or without a process here");
    }
}

/* Only Penstock answers GET /healthz with these two members. False: somebody else. */
static bool is_ours(const struct ps_doctor_probe *probe, char *version, size_t size)
{
    bool ours = false;
    if (probe == NULL || probe->stage != PS_DOCTOR_DONE || probe->status != 200) {
        return false;
    }
    json_t *json = json_loadb(probe->body.data, probe->body.len, 0, NULL);
    const char *status = json_string_value(json_object_get(json, "status"));
    const char *told = json_string_value(json_object_get(json, "version"));
    if (status != NULL && told != NULL && strcmp(status, "ok") == 0) {
        snprintf(version, size, "%.20s", told);
        ours = true;
    }
    json_decref(json);
    return ours;
}

static void judge_held(struct ps_doctor *doctor, const struct ps_doctor_port *port)
{
    struct ps_doctor_report *report = &doctor->report;
    char who[128];
    char version[32];
    say_who(&port->holder, who, sizeof who);
    if (is_ours(port->self, version, sizeof version)) {
        doctor->service_pid = port->holder.pid;
        bool same = strcmp(version, PS_VERSION) == 0;
        ps_doctor_say(report, same ? PS_DOCTOR_OK : PS_DOCTOR_INFO, port->text,
                      "Penstock %s runs there and says that it is well: %s", version, who);
        if (!same) {
            ps_doctor_fix(report, "this program is version %s: restart the service to use it",
                          PS_VERSION);
        }
        return;
    }
    bool penstock = strcmp(port->holder.name, "penstock") == 0;
    ps_doctor_say(report, PS_DOCTOR_ERROR, port->text, "is taken by %s%s", who,
                  penstock ? ", but not by a gateway that answers GET /healthz" : "");
    if (port->holder.pid > 0) {
        ps_doctor_fix(report, "end it (kill %d), or choose another address in %s",
                      (int)port->holder.pid, port->field);
    } else {
        ps_doctor_fix(report,
                      "run the doctor as root to see which, or choose another address in %s",
                      port->field);
    }
}

static void judge_denied(struct ps_doctor_report *report, const struct ps_doctor_port *port)
{
    char text[32];
    uint64_t first = 1024;
    struct ps_str file =
        ps_doctor_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", text, sizeof text);
    PS_IGNORE(ps_doctor_read_number(file, &first)); /* else the kernel's default */
    ps_doctor_say(report, PS_DOCTOR_ERROR, port->text,
                  "this user may not listen on a port below %ju", (uintmax_t)first);
    ps_doctor_fix(
        report, "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, or a port from %ju on in %s",
        (uintmax_t)first, port->field);
}

static void judge_foreign(struct ps_doctor_report *report, const struct ps_doctor_port *port)
{
    bool v6 = port->address.storage.ss_family == AF_INET6;
    char text[8];
    struct ps_str off =
        ps_doctor_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", text, sizeof text);
    bool no_v6 = v6 && (port->error == EAFNOSUPPORT || ps_str_starts_with(off, PS_STR("1")) ||
                        ps_address_is_loopback(&port->address));
    if (port->is_default) {
        ps_doctor_say(report, PS_DOCTOR_INFO, port->text,
                      "this machine has no such address: it is left out");
        return;
    }
    ps_doctor_say(report, PS_DOCTOR_ERROR, port->text,
                  no_v6 ? "IPv6 is off on this machine" : "is no address of this machine");
    if (no_v6) {
        ps_doctor_fix(report,
                      "sysctl net.ipv6.conf.all.disable_ipv6=0, or take the address out of %s",
                      port->field);
    } else {
        ps_doctor_fix(report, "write one that `ip address` shows into %s, or :%u for every address",
                      port->field, (unsigned)ps_address_port(&port->address));
    }
}

static void judge_port(struct ps_doctor *doctor, const struct ps_doctor_port *port)
{
    struct ps_doctor_report *report = &doctor->report;
    switch (port->error) {
    case 0:
        ps_doctor_say(report, PS_DOCTOR_OK, port->text,
                      ps_address_port(&port->address) == 0 ? "any free port" : "is free");
        break;
    case EADDRINUSE:
        judge_held(doctor, port);
        break;
    case EACCES:
    case EPERM:
        judge_denied(report, port);
        break;
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        judge_foreign(report, port);
        break;
    default:
        ps_doctor_say(report, PS_DOCTOR_ERROR, port->text, "can't be listened on: %s",
                      ps_err_text(ps_err_from_errno(port->error)));
        ps_doctor_fix(report, "choose another address in %s", port->field);
    }
}

void ps_doctor_ports(struct ps_doctor *doctor)
{
    for (size_t i = 0; i < doctor->port_count; i++) {
        judge_port(doctor, &doctor->ports[i]);
    }
}
