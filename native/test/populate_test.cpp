#include "core/populate.hpp"

#include "test/check.hpp"

#include <future>
#include <sys/mman.h>
#include <unistd.h>

namespace {

const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

std::shared_ptr<gm::Mapping> anonymous(std::size_t length, bool guard = false) {
    auto mapping = gm::Mapping::map({.fd = -1,
                                     .offset = 0,
                                     .length = length,
                                     .protection = PROT_READ | PROT_WRITE,
                                     .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                                     .alignment = 0,
                                     .guard = guard});
    CHECK(mapping.ok());
    return *mapping;
}

gm::PopulateOutcome populate(const gm::Mapping& mapping, gm::PopulateRequest request) {
    std::promise<void> finished;
    auto job = gm::Populate::start(mapping, request, [&] { finished.set_value(); });
    CHECK(job.ok());
    finished.get_future().wait();
    return (*job)->outcome();
}

std::size_t resident(const gm::Mapping& mapping) {
    std::vector<unsigned char> pages(mapping.length() / page);
    CHECK_EQUAL(mapping.residency(0, mapping.length(), pages.data()), 0);
    std::size_t count = 0;
    for (const unsigned char one : pages)
        count += one & 1;
    return count;
}

void populates_with_any_number_of_threads() {
    for (const auto method : {gm::PopulateMethod::write, gm::PopulateMethod::touch_write}) {
        for (const unsigned threads : {1u, 3u, 100u}) {
            const auto mapping = anonymous(50 * page);
            const auto outcome = populate(*mapping, {0, 50 * page, page, threads, {}, method});
            CHECK_EQUAL(outcome.status, 0);
            CHECK_EQUAL(outcome.done, 50 * page);
            CHECK_EQUAL(resident(*mapping), 50u);
        }
    }
}

void keeps_to_its_range_and_contents() {
    const auto mapping = anonymous(8 * page);
    CHECK_EQUAL(mapping->fill(2 * page, 9, page).done, page);
    const auto outcome = populate(*mapping, {2 * page, 3 * page, page, 2, {}, gm::PopulateMethod::touch_write});
    CHECK_EQUAL(outcome.done, 3 * page);
    CHECK_EQUAL(resident(*mapping), 3u);
    unsigned char byte = 0;
    CHECK_EQUAL(mapping->read(2 * page, &byte, 1).done, 1u);
    CHECK_EQUAL(byte, 9);
}

void tells_which_page_cannot_be_had() {
    for (const auto method : {gm::PopulateMethod::write, gm::PopulateMethod::touch_write}) {
        const auto mapping = anonymous(8 * page);
        CHECK_EQUAL(mapping->protect(5 * page, page, PROT_NONE), 0);
        const auto outcome = populate(*mapping, {0, 8 * page, page, 1, {}, method});
        CHECK(outcome.status < 0);
        CHECK_EQUAL(outcome.error_offset, 5 * page);
        CHECK_EQUAL(outcome.done, 5 * page);
    }
}

void survives_the_end_of_its_mapping_and_itself() {
    const auto mapping = anonymous(std::size_t{1} << 30);
    std::promise<void> finished;
    auto job = gm::Populate::start(*mapping, {0, std::size_t{1} << 30, page, 2, {}, gm::PopulateMethod::write},
                                   [&] { finished.set_value(); });
    CHECK(job.ok());
    CHECK_EQUAL(mapping->close(), 0);
    (*job)->close();
    finished.get_future().wait();
    CHECK((*job)->outcome().cancelled);
}

void refuses_processors_that_are_not_there() {
    CHECK_EQUAL(gm::probe_affinity({0, 1, 2, 3}), 0);
    CHECK_EQUAL(gm::probe_affinity({4000}), -gm::at_step(gm::Step::sched_setaffinity, EINVAL));
}

void a_guard_page_lies_behind() {
    const auto mapping = anonymous(4 * page, true);
    unsigned char byte;
    CHECK(gm::guarded_copy(&byte, mapping->base() + 4 * page, 1).faulted);
    unsigned char is_resident;
    auto* end = mapping->base() + 4 * page;
    CHECK_EQUAL(mincore(end, page, &is_resident), 0);
    CHECK_EQUAL(mapping->close(), 0);
    CHECK(mincore(end, page, &is_resident) < 0);
}

} // namespace

int main() {
    RUN(populates_with_any_number_of_threads);
    RUN(keeps_to_its_range_and_contents);
    RUN(tells_which_page_cannot_be_had);
    RUN(survives_the_end_of_its_mapping_and_itself);
    RUN(refuses_processors_that_are_not_there);
    RUN(a_guard_page_lies_behind);
}
