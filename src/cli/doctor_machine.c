#include "cli/doctor.h"

#include "base/ids.h"
#include "daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pwd.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <sys/wait.h>

enum {
    PATH_BYTES = 1400,
    SAID_BYTES = 600,
    MIB = 1 << 20,
    DISK_LOW_MIB = 1024,
    DISK_EMPTY_MIB = 100,
    FILES_LOW = 8192,
    LOCKED_LOW_KIB = 1024,
    NOT_FOUND = 127, /* as a shell says it */
};

/* Unix milliseconds of the day the first purser was made: no clock is right that stands before. */
static const int64_t BORN_MS = 1795305600000;

/* Runs a program without a shell; *ret_said gets the end of what it prints. Its exit code, or -1. */
static int
run(const char *const *argv, char ret_said[static SAID_BYTES])
{
    int out[2], status = -1;
    size_t used = 0;
    ssize_t n;
    pid_t pid;

    ret_said[0] = '\0';
    if (pipe2(out, O_CLOEXEC) != 0)
        return -1;
    pid = fork();
    if (pid == 0) {
        if (dup2(out[1], STDOUT_FILENO) >= 0 && dup2(out[1], STDERR_FILENO) >= 0)
            execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(NOT_FOUND);
    }
    close(out[1]);
    while (pid > 0 && (n = read(out[0], ret_said + used, SAID_BYTES - 1 - used)) > 0)
        used += (size_t)n;
    ret_said[used] = '\0';
    close(out[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static void
first_line(char *text)
{
    text[strcspn(text, "\n")] = '\0';
}

/* The module's path as purserd finds it: the setting, beside this program, nginx's own folder. */
static bool
find_module(const struct settings *s, char ret[static PATH_BYTES])
{
    char program[1024];
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

    if (s->module[0] != '\0') {
        snprintf(ret, PATH_BYTES, "%s", s->module);
        return access(ret, R_OK) == 0;
    }
    program[n < 0 ? 0 : n] = '\0';
    snprintf(ret, PATH_BYTES, "%s/ngx_http_purser_module.so", dirname(program));
    if (access(ret, R_OK) == 0)
        return true;
    snprintf(ret, PATH_BYTES, "/usr/lib/nginx/modules/ngx_http_purser_module.so");
    return access(ret, R_OK) == 0;
}

/* nginx itself says whether it can load the module: it compares what both were built with. */
static void
look_at_module(struct doctor *d, const char *nginx)
{
    char module[PATH_BYTES], folder[] = "/tmp/purser-doctor-XXXXXX", conf[64], said[SAID_BYTES];
    FILE *f;
    int code;

    if (!find_module(d->settings, module)) {
        doctor_note(d, "gateway module", DOCTOR_BROKEN,
            "build it (make), or name it with the setting module", "%s is not there", module);
        return;
    }
    if (mkdtemp(folder) == NULL)
        return;
    snprintf(conf, sizeof(conf), "%s/nginx.conf", folder);
    f = fopen(conf, "we");
    if (f != NULL) {
        fprintf(
            f, "load_module \"%s\";\npid %s/pid;\nerror_log stderr;\nevents {}\n", module, folder);
        fclose(f);
    }
    code = run((const char *[]){nginx, "-t", "-q", "-p", folder, "-c", conf, NULL}, said);
    unlink(conf);
    rmdir(folder);
    first_line(said);
    if (code == 0)
        doctor_note(d, "gateway module", DOCTOR_OK, NULL, "%s fits this nginx", module);
    else
        doctor_note(d, "gateway module", DOCTOR_BROKEN,
            "build it for this nginx: install nginx-dev of the same version, then make clean all",
            "nginx does not load %s: %s", module, said);
}

static void
look_at_nginx(struct doctor *d)
{
    const char *nginx = d->settings->nginx;
    char said[SAID_BYTES];
    int code = run((const char *[]){nginx, "-v", NULL}, said);

    /* The one that the supervisor would start: Debian keeps it where a user's PATH does not look. */
    if (code == NOT_FOUND && strcmp(nginx, "nginx") == 0) {
        nginx = "/usr/sbin/nginx";
        code = run((const char *[]){nginx, "-v", NULL}, said);
    }
    if (code != 0) {
        doctor_note(d, "nginx", DOCTOR_BROKEN, "install the package nginx, or set nginx",
            "%s does not run", nginx);
        return;
    }
    first_line(said);
    doctor_note(d, "nginx", DOCTOR_OK, NULL, "%s (%s)", nginx, said);
    look_at_module(d, nginx);
}

static void
look_at_clock(struct doctor *d)
{
    struct timex t = {0};
    int state = adjtimex(&t);

    if (clock_ms() < BORN_MS)
        doctor_note(d, "clock", DOCTOR_BROKEN, "set it: prices, budgets and tokens go by it",
            "it stands before the day the first purser was made");
    else if (state == TIME_ERROR || (t.status & STA_UNSYNC) != 0)
        doctor_note(d, "clock", DOCTOR_WARNING,
            "install a time service (systemd-timesyncd, chrony)",
            "the kernel says that nobody keeps it right");
    else
        doctor_note(d, "clock", DOCTOR_OK, NULL, "kept right by a time service");
}

static void
look_at_disk(struct doctor *d)
{
    struct statvfs fs;
    long long free_mib;

    if (statvfs(d->settings->state, &fs) != 0)
        return;
    free_mib = (long long)fs.f_bavail * (long long)fs.f_frsize / MIB;
    if (free_mib < DISK_EMPTY_MIB || (fs.f_files > 0 && fs.f_favail < 1000))
        doctor_note(d, "disk", DOCTOR_BROKEN,
            "make room: calls are refused when the ledger cannot grow",
            "%lld MiB and %llu files are free for the state directory", free_mib,
            (unsigned long long)fs.f_favail);
    else if (free_mib < DISK_LOW_MIB)
        doctor_note(d, "disk", DOCTOR_WARNING, "make room",
            "%lld MiB are free for the state directory", free_mib);
    else
        doctor_note(
            d, "disk", DOCTOR_OK, NULL, "%lld MiB are free for the state directory", free_mib);
}

static void
look_at_limits(struct doctor *d)
{
    struct rlimit files = {0}, locked = {0};

    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_MEMLOCK, &locked);
    if (files.rlim_max < FILES_LOW)
        doctor_note(d, "limits", DOCTOR_WARNING, "raise it (LimitNOFILE=, ulimit -n)",
            "%llu files may be open; a stream takes two", (unsigned long long)files.rlim_max);
    else
        doctor_note(d, "limits", DOCTOR_OK, NULL, "%llu files may be open",
            (unsigned long long)files.rlim_max);
    if (geteuid() != 0 && locked.rlim_max / 1024 < LOCKED_LOW_KIB)
        doctor_note(d, "locked memory", DOCTOR_WARNING, "raise it (LimitMEMLOCK=, ulimit -l)",
            "%llu KiB may be locked: secrets can reach swap",
            (unsigned long long)locked.rlim_max / 1024);
}

static void
look_at_users(struct doctor *d)
{
    const char *user = d->settings->worker_user;
    const struct passwd *found = getpwnam(user);

    if (geteuid() != 0) {
        if (access("/usr/bin/bwrap", X_OK) != 0)
            doctor_note(d, "isolation", DOCTOR_WARNING, "install the package bubblewrap",
                "without root agents are kept apart by bubblewrap, and it is not installed");
        else
            doctor_note(d, "isolation", DOCTOR_OK, NULL, "bubblewrap is there");
        return;
    }
    if (found == NULL || found->pw_uid == 0)
        doctor_note(d, "worker user", DOCTOR_BROKEN, "make the user, or set worker_user",
            "there is no user %s other than root", user);
    else
        doctor_note(d, "worker user", DOCTOR_OK, NULL, "%s", user);
}

static void
look_at_port(struct doctor *d)
{
    struct error e;

    if (d->served)
        return;
    if (listen_check_free(&d->settings->listen_address, &e) != ERR_OK)
        doctor_note(d, "port", DOCTOR_WARNING, "stop who has it, or set listen", "%s", e.text);
    else
        doctor_note(d, "port", DOCTOR_OK, NULL, "%s is free", d->settings->listen);
}

void
doctor_look_at_machine(struct doctor *d)
{
    look_at_nginx(d);
    look_at_users(d);
    look_at_clock(d);
    look_at_disk(d);
    look_at_limits(d);
    look_at_port(d);
}
