/* The program and what it stands on: build, machine, user, libraries. */
#include <dlfcn.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/opensslv.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <uv.h>
#include <yajl/yajl_version.h>
#include <zlib.h>

#include "daemon/doctor_check.h"
#include "daemon/doctor_text.h"
#include "version.h"

#define NVML "libnvidia-ml.so.1"

/* The name of a local user, or "". Asked of the file and not of NSS, which may hang. */
static void find_user(uid_t uid, char *out, size_t size)
{
    FILE *file = fopen("/etc/passwd", "re");
    out[0] = '\0';
    for (const struct passwd *user = NULL; file != NULL && (user = fgetpwent(file)) != NULL;) {
        if (user->pw_uid == uid) {
            snprintf(out, size, "%s ", user->pw_name);
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static void say_build(struct ps_doctor_report *report)
{
    struct utsname machine;
    char user[64];
    uid_t uid = geteuid();
    find_user(uid, user, sizeof user);
    if (uname(&machine) != 0) {
        snprintf(machine.sysname, sizeof machine.sysname, "unknown system");
        machine.release[0] = machine.machine[0] = '\0';
    }
    ps_doctor_say(report, PS_DOCTOR_OK, "penstock",
                  "version " PS_VERSION " (" PS_VERSION_GIT
                  "), %s, %s %s, looked at as user %s(%u)",
                  machine.machine, machine.sysname, machine.release, user, (unsigned)uid);
}

static void look_for_driver(struct ps_doctor_report *report)
{
    void *library = dlopen(NVML, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        ps_doctor_say(report, PS_DOCTOR_INFO, NVML,
                      "no NVIDIA driver: GPU figures come from the engines");
        return;
    }
    dlclose(library);
    ps_doctor_say(report, PS_DOCTOR_OK, NVML, "can be loaded");
}

void ps_doctor_judge_library(struct ps_doctor_report *report, const char *name, const char *built,
                             const char *running)
{
    uint64_t before = 0;
    uint64_t now = 0;
    bool known = ps_doctor_read_major(ps_str_from(built), &before) == PS_OK &&
                 ps_doctor_read_major(ps_str_from(running), &now) == PS_OK;
    if (known && before != now) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, name,
                      "version %s is loaded, this program was built with %s", running, built);
        ps_doctor_fix(report, "install %s %ju.x, or build Penstock anew on this machine", name,
                      (uintmax_t)before);
        return;
    }
    ps_doctor_say(report, PS_DOCTOR_OK, name, "version %s, built with %s", running, built);
}

static const char *yajl_text(int version, char *out, size_t size)
{
    snprintf(out, size, "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
    return out;
}

static void look_at_libraries(struct ps_doctor_report *report)
{
    char built[32];
    char running[32];
    ps_doctor_judge_library(report, "OpenSSL", OPENSSL_VERSION_STR,
                            OpenSSL_version(OPENSSL_VERSION_STRING));
    snprintf(built, sizeof built, "%d.%d.%d", UV_VERSION_MAJOR, UV_VERSION_MINOR, UV_VERSION_PATCH);
    ps_doctor_judge_library(report, "libuv", built, uv_version_string());
    ps_doctor_judge_library(report, "zlib", ZLIB_VERSION, zlibVersion());
    ps_doctor_judge_library(report, "jansson", JANSSON_VERSION, jansson_version_str());
    ps_doctor_judge_library(report, "yajl", yajl_text(YAJL_VERSION, built, sizeof built),
                            yajl_text(yajl_version(), running, sizeof running));
}

void ps_doctor_program(struct ps_doctor *doctor)
{
    say_build(&doctor->report);
    look_for_driver(&doctor->report);
    look_at_libraries(&doctor->report);
}
