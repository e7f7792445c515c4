#include "core/forked_child.hpp"

#include <csignal>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace gm {
namespace {

/// Pipe writes of this size are never split, and so neither are the reads. EPIPE where the other end is gone.
template <typename T>
Status transfer(Step step, ssize_t (*call)(int, T*, std::size_t), int fd, T* data, std::size_t size) {
    ssize_t done;
    do {
        done = call(fd, data, size);
    } while (done < 0 && errno == EINTR);
    if (done < 0)
        return -at_step(step, errno);
    return done == static_cast<ssize_t>(size) ? 0 : -at_step(step, EPIPE);
}

} // namespace

Result<std::shared_ptr<ForkedChild>> ForkedChild::fork(const Mapping& mapping) {
    using Failure = Result<std::shared_ptr<ForkedChild>>;
    int requests[2], answers[2];
    if (::pipe2(requests, O_CLOEXEC) < 0)
        return Failure::last_error(Step::pipe2);
    Fd request_reader(requests[0]), request_writer(requests[1]);
    if (::pipe2(answers, O_CLOEXEC) < 0)
        return Failure::last_error(Step::pipe2);
    Fd answer_reader(answers[0]), answer_writer(answers[1]);
    const pid_t pid = ::fork();
    if (pid < 0)
        return Failure::last_error();
    if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        // Its own copy of the writing end would keep the child from seeing that the parent has closed it.
        ::close(requests[1]);
        serve(mapping, requests[0], answers[1]);
        ::_exit(0);
    }
    return std::make_shared<ForkedChild>(pid, std::move(request_writer), std::move(answer_reader));
}

void ForkedChild::serve(const Mapping& mapping, int requests, int answers) {
    Request request;
    while (transfer<void>(Step::read, ::read, requests, &request, sizeof request) == 0) {
        std::uint8_t byte = 0;
        const GuardedOutcome outcome =
            request.is_store ? mapping.fill(request.offset, request.value, 1) : mapping.read(request.offset, &byte, 1);
        const int answer = outcome.faulted ? -EFAULT : byte;
        if (transfer<const void>(Step::write, ::write, answers, &answer, sizeof answer) < 0)
            return;
    }
}

int ForkedChild::ask(const Request& request) {
    int answer = 0;
    if (const Status sent = transfer<const void>(Step::write, ::write, requests_.get(), &request, sizeof request);
        sent < 0)
        return sent;
    const Status heard = transfer<void>(Step::read, ::read, answers_.get(), &answer, sizeof answer);
    return heard < 0 ? heard : answer;
}

void ForkedChild::close() {
    if (pid_ <= 0)
        return;
    requests_.close();
    answers_.close();
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
}

} // namespace gm
