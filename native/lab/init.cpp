// The first process of a lab machine. It mounts what Node needs, loads the KVM modules that came with it, runs the
// program it is given and says how that ended, on the virtio-serial port through which the host listens. Then it powers
// off.
//
//   gm_init PROGRAM [ARGUMENT…]
//
// The program finds the channel at file descriptor 3.
//
// The host writes the arguments behind `--` on the kernel's command line, and /lab/modules: one path a line, in order.
#include "text.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

int channel = -1;

/// One line of JSON.
void tell(const std::string& line) {
    const std::string text = line + "\n";
    for (std::size_t at = 0; at < text.size();) {
        const ssize_t count = write(channel, text.data() + at, text.size() - at);
        if (count < 0 && errno != EINTR)
            return;
        at += count > 0 ? static_cast<std::size_t>(count) : 0;
    }
}

std::string text_of(const char* path) {
    std::string text;
    if (FILE* file = fopen(path, "re")) {
        char buffer[256];
        for (std::size_t count; (count = fread(buffer, 1, sizeof buffer, file)) > 0;)
            text.append(buffer, count);
        fclose(file);
    }
    return text;
}

void mount_all() {
    const struct {
        const char *type, *where;
    } mounts[] = {{"devtmpfs", "/dev"}, {"proc", "/proc"},     {"sysfs", "/sys"},
                  {"tmpfs", "/tmp"},    {"tmpfs", "/dev/shm"}, {"debugfs", "/sys/kernel/debug"}};
    for (const auto& one : mounts) {
        mkdir(one.where, 0755);
        mount(one.type, one.where, one.type, 0, nullptr); // what the kernel lacks, a check will tell
    }
}

/// The only virtio-serial port is the channel. Its name in /dev is the kernel's choice, so /sys is asked by its own
/// name. The driver may still be at work when init starts.
int open_channel() {
    for (int attempt = 0; attempt < 300; attempt++) {
        for (int device = 0; device < 4; device++)
            for (int port = 0; port < 4; port++) {
                char node[32], name[64];
                snprintf(node, sizeof node, "vport%dp%d", device, port);
                snprintf(name, sizeof name, "/sys/class/virtio-ports/%s/name", node);
                if (text_of(name) != "gmem\n")
                    continue;
                const int fd = open((std::string("/dev/") + node).c_str(), O_WRONLY | O_CLOEXEC);
                if (fd >= 0)
                    return fd;
            }
        usleep(10'000);
    }
    return -1;
}

void load_modules() {
    for (const std::string& path : gm::lab::lines_of(text_of("/lab/modules"))) {
        const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        // The kernel expands compressed modules itself where it was built to (MODULE_INIT_COMPRESSED_FILE); the host
        // brings others expanded.
        const int error = fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0 ? errno : 0;
        close(fd);
        tell("{\"type\":\"module\",\"path\":" + gm::lab::json_string(path) + ",\"errno\":" + std::to_string(error) +
             "}");
    }
}

void run(char** arguments) {
    const pid_t child = fork();
    if (child == 0) {
        setsid();
        if (channel == 3)
            fcntl(channel, F_SETFD, 0);
        else
            dup2(channel, 3);
        execv(arguments[0], arguments);
        fprintf(stderr, "gm_init: %s: %s\n", arguments[0], strerror(errno));
        _exit(127);
    }
    int status = 0;
    for (pid_t ended; (ended = wait(&status)) != child;)
        if (ended < 0 && errno != EINTR)
            break;
    const std::string code = WIFEXITED(status) ? std::to_string(WEXITSTATUS(status)) : "null";
    const std::string signal =
        WIFSIGNALED(status) ? std::string("\"SIG") + sigabbrev_np(WTERMSIG(status)) + "\"" : "null";
    tell(R"({"type":"ended","code":)" + code + ",\"signal\":" + signal + "}");
}

} // namespace

int main(int, char** argv) {
    mount_all();
    channel = open_channel();
    if (channel < 0) {
        fprintf(stderr, "gm_init: no channel\n");
    } else {
        tell(R"({"type":"init"})");
        load_modules();
        setenv("HOME", "/tmp", 1);
        setenv("PATH", "/bin", 1);
        // Words of the command line that the kernel does not know stand before the program that was asked for.
        char** program = argv + 1;
        while (program[0] != nullptr && program[0][0] != '/')
            program++;
        run(program);
        close(channel);
    }
    sync();
    reboot(RB_POWER_OFF);
    reboot(RB_AUTOBOOT); // where the machine cannot be switched off, QEMU ends at a reboot too
    for (;;)
        pause();
}
