#include "core/kick.hpp"

#include <csignal>
#include <ctime>
#include <mutex>
#include <optional>
#include <sys/syscall.h>
#include <unistd.h>

namespace gm {
namespace {

int kick_signal = 0;

// initial-exec: the signal handler reads it, and the general model may allocate memory on a thread's first access.
__attribute__((tls_model("initial-exec"))) thread_local std::uint8_t* volatile current_immediate_exit = nullptr;

void on_kick(int) {
    if (current_immediate_exit)
        *current_immediate_exit = 1;
}

std::uint64_t now() {
    struct timespec ts;
    ::clock_gettime(CLOCK_MONOTONIC, &ts);
    return static_cast<std::uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(ts.tv_nsec);
}

class ThreadTimer {
  public:
    ThreadTimer() {
        struct sigevent event{};
        event.sigev_notify = SIGEV_THREAD_ID;
        event.sigev_signo = kick_signal;
        event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
        status = status_of(::timer_create(CLOCK_MONOTONIC, &event, &timer_), Step::timer_create);
    }
    ~ThreadTimer() {
        if (status == 0)
            ::timer_delete(timer_);
    }
    /// Lets it fire at that time or before.
    void fire_by(std::uint64_t at, std::uint64_t now) {
        if (at_ <= now || at_ > at)
            set(at);
    }
    void set(std::uint64_t at) {
        at_ = at;
        struct itimerspec when{};
        when.it_value.tv_sec = static_cast<time_t>(at / 1'000'000'000);
        when.it_value.tv_nsec = static_cast<long>(at % 1'000'000'000);
        ::timer_settime(timer_, TIMER_ABSTIME, &when, nullptr);
    }
    Status status = 0;

  private:
    timer_t timer_{};
    std::uint64_t at_ = 0; ///< when it fires, or has fired
};

ThreadTimer& thread_timer() {
    thread_local std::optional<ThreadTimer> timer;
    // One that could not be had once may be there now.
    if (!timer || timer->status < 0)
        timer.emplace();
    return *timer;
}

} // namespace

Status Kick::install() {
    static std::once_flag once;
    std::call_once(once, [] {
        for (int signal = SIGRTMAX; signal >= SIGRTMIN; signal--) {
            struct sigaction present{};
            if (::sigaction(signal, nullptr, &present) < 0 || present.sa_handler != SIG_DFL)
                continue;
            struct sigaction ours{};
            ours.sa_handler = on_kick;
            sigemptyset(&ours.sa_mask);
            // KVM_RUN comes back from a signal in any case; other calls need not.
            ours.sa_flags = SA_RESTART;
            if (::sigaction(signal, &ours, nullptr) < 0)
                continue;
            kick_signal = signal;
            return;
        }
    });
    return kick_signal ? 0 : -at_step(Step::sigaction, EAGAIN);
}

Kick::Kick(std::uint8_t* immediate_exit) {
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, kick_signal);
    thread_local const bool unblocked = ::pthread_sigmask(SIG_UNBLOCK, &kick, nullptr) == 0;
    (void)unblocked;
    current_immediate_exit = immediate_exit;
}

Kick::~Kick() { current_immediate_exit = nullptr; }

void Kick::send(pthread_t thread) { ::pthread_kill(thread, kick_signal); }

Deadline::Deadline(std::uint64_t nanoseconds) {
    if (nanoseconds == 0)
        return;
    status_ = thread_timer().status;
    if (status_ < 0)
        return;
    const std::uint64_t start = now();
    at_ = start + nanoseconds;
    thread_timer().fire_by(at_, start);
}

void Deadline::renew() const {
    if (at_ != 0)
        thread_timer().set(at_);
}

bool Deadline::passed() const { return at_ != 0 && now() >= at_; }

} // namespace gm
