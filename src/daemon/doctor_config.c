/* The configuration file: its mistakes, who can read it, who may come in by it, and where it has
 * Penstock write. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/doctor_check.h"

enum { SUBJECT_SIZE = 512 };

#define LEAST_SPACE  ((uint64_t)100 * 1024 * 1024)
#define LEAST_INODES 1000

/* --- configuration ------------------------------------------------------------------------------
 */

/* "routes[2].upstream" as the manual calls it: "routes[].upstream". */
static void plain_field(const char *field, char *out, size_t size)
{
    size_t n = 0;
    for (const char *c = field; *c != '\0' && n + 1 < size; c++) {
        if (c == field || c[-1] != '[') {
            out[n++] = *c;
            continue;
        }
        c += strcspn(c, "]");
        if (*c == '\0') {
            break;
        }
        out[n++] = ']';
    }
    out[n] = '\0';
}

static void say_finding(struct ps_doctor *doctor, const struct ps_config_finding *found)
{
    char subject[SUBJECT_SIZE];
    char field[SUBJECT_SIZE];
    char place[32] = "";
    if (found->line > 0) {
        snprintf(place, sizeof place, ":%u:%u", found->line, found->column);
    }
    snprintf(subject, sizeof subject, "%s%s%s%s", doctor->path, place,
             *found->field == '\0' ? "" : " ", found->field);
    plain_field(found->field, field, sizeof field);
    ps_doctor_say(&doctor->report, found->warning ? PS_DOCTOR_WARNING : PS_DOCTOR_ERROR, subject,
                  "%s", found->text);
    if (*found->fix != '\0') {
        ps_doctor_fix(&doctor->report, "%s", found->fix);
    } else if (*field != '\0') {
        ps_doctor_fix(&doctor->report,
                      "write what is expected; `penstock config --reference` describes %s", field);
    } else {
        ps_doctor_fix(&doctor->report, "name a regular file that this user may read");
    }
}

/* Who may come in is a check of its own. */
static bool is_about_access(const struct ps_config_finding *found)
{
    return strstr(found->text, "beyond loopback") != NULL;
}

static void say_findings(struct ps_doctor *doctor, const struct ps_config_report *report)
{
    const char *check = doctor->report.check;
    for (size_t i = 0; i < report->count; i++) {
        doctor->report.check = is_about_access(&report->items[i]) ? "access" : check;
        say_finding(doctor, &report->items[i]);
    }
    doctor->report.check = check;
    size_t hidden = report->errors + report->warnings - report->count;
    if (hidden > 0) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_ERROR, doctor->path, "%zu more mistakes", hidden);
        ps_doctor_fix(&doctor->report, "correct the first ones, then look again");
    }
}

static void judge_permissions(struct ps_doctor *doctor, bool is_public)
{
    if (is_public && ps_config_holds_secrets(doctor->path)) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_WARNING, doctor->path,
                      "holds secrets, and every user of this machine may read it");
        ps_doctor_fix(&doctor->report, "chmod o-rwx %s", doctor->path);
    }
}

static void on_secret(void *ctx, const char *secret)
{
    ps_doctor_hide(ctx, secret);
}

static void read_file(struct ps_doctor *doctor)
{
    struct ps_config_report report = {0};
    bool is_public = false;
    int err = ps_config_examine(&doctor->config, doctor->path, &is_public, &report);
    if (err == PS_ENOMEM) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_ERROR, doctor->path,
                      "can't be read: out of memory");
    }
    if (doctor->config != NULL) {
        ps_config_each_secret(doctor->config, on_secret, &doctor->report);
    }
    say_findings(doctor, &report);
    judge_permissions(doctor, is_public);
    if (err == PS_OK && report.warnings == 0) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_OK, doctor->path, "no mistakes");
    } else if (err == PS_EPARSE) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_INFO, doctor->path,
                      "ports, limits and upstreams are not looked at: nothing is known of them");
    }
    ps_config_report_fini(&report);
}

void ps_doctor_configuration(struct ps_doctor *doctor)
{
    if (doctor->path != NULL) {
        read_file(doctor);
    } else if (ps_config_default(&doctor->config) == PS_OK) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_OK, "",
                      "no file was named: the defaults are looked at");
    }
    for (size_t i = 0; i < doctor->url_count && doctor->config != NULL; i++) {
        PS_IGNORE(ps_config_add_endpoint(doctor->config, PS_STR("default"),
                                         ps_str_from(doctor->urls[i])));
    }
}

/* --- access -------------------------------------------------------------------------------------
 */

/* The mistakes were said with the configuration; here is what holds. */
static void say_door(struct ps_doctor *doctor, const char *subject, bool is_local, bool has_keys)
{
    const struct ps_config *config = doctor->config;
    if (is_local) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_OK, subject, "reached from this machine alone");
    } else if (has_keys && config->tls.certificate == NULL) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_INFO, subject,
                      "reached from other machines, and keys cross the network readable");
        ps_doctor_fix(&doctor->report, "tls: {certificate: cert.pem, key_file: key.pem}, unless "
                                       "something in front speaks TLS");
    } else if (has_keys) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_OK, subject,
                      "reached from other machines, with keys, over TLS");
    }
}

void ps_doctor_access(struct ps_doctor *doctor)
{
    const struct ps_config *config = doctor->config;
    if (config == NULL) {
        return;
    }
    bool split = config->admin.listen.count > 0;
    bool local = ps_config_is_loopback(&config->listen);
    say_door(doctor, "gateway", local, config->tenants.count > 0);
    say_door(doctor, "reserved paths", split ? ps_config_is_loopback(&config->admin.listen) : local,
             config->admin.tokens.count > 0);
    if (!local && config->tenants_open) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_INFO, "tenants",
                      "open: whoever reaches the gateway may use it");
    }
}

/* --- directories --------------------------------------------------------------------------------
 */

static void judge_space(struct ps_doctor_report *report, const char *folder, const char *key)
{
    struct statvfs fs;
    if (statvfs(folder, &fs) != 0) {
        return;
    }
    uint64_t space = (uint64_t)fs.f_bavail * fs.f_frsize;
    if ((fs.f_flag & ST_RDONLY) != 0) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, folder,
                      "is on a file system that is mounted read-only");
        ps_doctor_fix(report, "write elsewhere (%s), or mount it for writing", key);
    } else if (space < LEAST_SPACE) {
        ps_doctor_say(report, PS_DOCTOR_WARNING, folder, "only %ju MiB are free",
                      (uintmax_t)(space >> 20));
        ps_doctor_fix(report, "make room, or write elsewhere (%s)", key);
    } else if (fs.f_files > 0 && fs.f_favail < LEAST_INODES) {
        ps_doctor_say(report, PS_DOCTOR_WARNING, folder, "only %ju files more can be made (inodes)",
                      (uintmax_t)fs.f_favail);
        ps_doctor_fix(report, "delete small files there, or write elsewhere (%s)", key);
    } else {
        ps_doctor_say(report, PS_DOCTOR_OK, folder, "%ju MiB are free", (uintmax_t)(space >> 20));
    }
}

/* A file that Penstock writes, and the key that names it. */
struct written {
    const char *path;
    const char *key;
    const char *name; /* that it could have */
    bool folder_too;  /* more files come beside it */
};

static void judge_writable(struct ps_doctor_report *report, const struct written *file,
                           const char *folder)
{
    struct stat st;
    bool exists = stat(file->path, &st) == 0;
    bool is_folder = exists && S_ISDIR(st.st_mode);
    const char *locked = exists && access(file->path, W_OK) != 0 ? file->path
                         : !exists || file->folder_too           ? folder
                                                                 : NULL;
    if (is_folder) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, file->path, "is a folder, not a file");
        ps_doctor_fix(report, "%s: %s/%s", file->key, file->path, file->name);
    } else if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, file->path, "there is no folder %s", folder);
        ps_doctor_fix(report, "mkdir -p %s, and give it to the user that runs Penstock", folder);
    } else if (locked != NULL && access(locked, W_OK) != 0 && errno != EROFS) {
        ps_doctor_say(report, PS_DOCTOR_ERROR, file->path, "can't be written by this user");
        ps_doctor_fix(report, "give %s to the user that runs Penstock (chown)", locked);
    } else {
        judge_space(report, folder, file->key);
    }
}

static void look_at_file(struct ps_doctor *doctor, const struct written *file)
{
    const char *slash = strrchr(file->path, '/');
    char *folder =
        slash == NULL ? strdup(".")
                      : strndup(file->path, slash == file->path ? 1 : (size_t)(slash - file->path));
    if (folder != NULL) {
        judge_writable(&doctor->report, file, folder);
        free(folder);
    }
}

/* Where `auto` leads depends on who starts it: only the service has its folder. */
static void look_at_store(struct ps_doctor *doctor)
{
    bool standard = false;
    struct stat st;
    char *path = ps_store_path(&doctor->config->store, &standard);
    if (path == NULL && standard) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_OK, "store.path",
                      "auto: as a service it is kept in the state folder; started by hand, "
                      "nothing is kept over a restart");
    } else if (path != NULL && standard && stat(path, &st) != 0) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_OK, path, "is made at the next start");
    } else if (path != NULL) {
        look_at_file(doctor, &(struct written){path, "store.path", "ledger.db", true});
    }
    free(path);
}

void ps_doctor_directories(struct ps_doctor *doctor)
{
    const char *log = doctor->config == NULL ? "off" : doctor->config->access_log;
    if (strcmp(log, "off") == 0 || strcmp(log, "stderr") == 0) {
        ps_doctor_say(&doctor->report, PS_DOCTOR_OK, "", "no access log is written to a file");
    } else {
        look_at_file(doctor, &(struct written){log, "access_log", "access.log", false});
    }
    if (doctor->config != NULL) {
        look_at_store(doctor);
    }
}
