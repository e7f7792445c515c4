#pragma once

#include "core/result.hpp"

#include <atomic>
#include <cstdint>
#include <pthread.h>

namespace gm {

/// The signal with which a thread is fetched out of KVM_RUN: a real-time signal that nobody in the process handled when
/// it was first needed. Its handler sets immediate_exit of the vCPU that the thread is running, so that a signal that
/// comes just before the ioctl is not lost.
class Kick {
  public:
    /// Chooses the signal and installs the handler once per process. -EAGAIN when every real-time signal is taken.
    static Status install();
    /// Makes the calling thread fetchable while this object lives.
    explicit Kick(std::uint8_t* immediate_exit);
    ~Kick();
    Kick(const Kick&) = delete;
    Kick& operator=(const Kick&) = delete;

    static void send(pthread_t thread);
};

/// Sends the kick signal to the calling thread when the time is over. One timer a thread, made at its first use.
///
/// The timer is left as it is where it fires before the time is over anyway, and is not stopped at the end: to set it
/// takes a system call, and most runs of a vCPU end long before their time. So a kick may come early, or between runs,
/// where it does nothing.
class Deadline {
  public:
    /// 0 nanoseconds: no deadline.
    explicit Deadline(std::uint64_t nanoseconds);
    Deadline(const Deadline&) = delete;
    Deadline& operator=(const Deadline&) = delete;

    [[nodiscard]] Status status() const { return status_; }
    [[nodiscard]] bool passed() const;
    /// After a kick before the time was over.
    void renew() const;

  private:
    std::uint64_t at_ = 0;
    Status status_ = 0;
};

} // namespace gm
