#pragma once

#include "addon/environment.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <napi.h>
#include <span>
#include <string>

namespace gm {

/// The most that a function of lib/kvm/native.ts takes.
inline constexpr std::size_t most_arguments = 10;

/// The arguments of one call from lib/kvm, which has validated their types and ranges: addresses come as numbers up to
/// 2^53 - 1 and as bigints above, everything else as numbers or typed arrays.
class Call {
  public:
    /// Arguments that were not given are undefined.
    Call(napi_env env, Environment& environment, std::span<const napi_value, most_arguments> arguments)
        : env_(env), environment_(environment), arguments_(arguments) {}

    [[nodiscard]] Napi::Env env() const { return env_; }
    [[nodiscard]] Environment& environment() const { return environment_; }
    [[nodiscard]] Napi::Value value(std::size_t i) const { return {env_, arguments_[i]}; }

    [[nodiscard]] std::uint32_t u32(std::size_t i) const {
        std::uint32_t value = 0;
        check(napi_get_value_uint32(env_, arguments_[i], &value));
        return value;
    }
    [[nodiscard]] std::int32_t i32(std::size_t i) const {
        std::int32_t value = 0;
        check(napi_get_value_int32(env_, arguments_[i], &value));
        return value;
    }
    [[nodiscard]] double number(std::size_t i) const {
        double value = 0;
        check(napi_get_value_double(env_, arguments_[i], &value));
        return value;
    }
    [[nodiscard]] std::uint64_t u64(std::size_t i) const {
        std::int64_t number = 0;
        if (napi_get_value_int64(env_, arguments_[i], &number) == napi_ok)
            return static_cast<std::uint64_t>(number);
        std::uint64_t value = 0;
        bool lossless = false;
        check(napi_get_value_bigint_uint64(env_, arguments_[i], &value, &lossless));
        return value;
    }
    /// The elements of a typed array, whose type lib/kvm chose to fit T. Asking for it takes a tenth of a short copy.
    template <typename T> [[nodiscard]] std::span<T> array(std::size_t i) const {
        void* data = nullptr;
        std::size_t length = 0;
        check(napi_get_typedarray_info(env_, arguments_[i], nullptr, &length, &data, nullptr, nullptr));
        return {static_cast<T*>(data), length};
    }

    template <typename T> [[nodiscard]] T& object(std::size_t i) const { return environment_.get<T>(env(), u32(i)); }
    [[nodiscard]] Mapping& mapping(std::size_t i) const { return *object<MappingEntry>(i).mapping; }

    [[nodiscard]] std::string text(std::size_t i) const { return value(i).As<Napi::String>().Utf8Value(); }

    [[nodiscard]] Napi::Value give(double value) const { return Napi::Number::New(env(), value); }
    /// A new handle, or a negative errno.
    template <typename T> [[nodiscard]] Napi::Value give(Result<std::shared_ptr<T>> result) const {
        return give(result.ok() ? environment_.add(std::move(*result)) : -result.error);
    }

    void check(napi_status status) const {
        if (status != napi_ok)
            throw Napi::Error::New(env());
    }

  private:
    napi_env env_;
    Environment& environment_;
    std::span<const napi_value, most_arguments> arguments_;
};

/// (object, seven 64-bit words): fills them with the members of FileFacts in order.
inline Napi::Value give_facts(const Call& call, const Result<FileFacts>& facts) {
    if (facts.error != 0)
        return call.give(-facts.error);
    const FileFacts& given = facts.value;
    const std::uint64_t words[] = {given.size, given.block_size,  given.blocks,       given.inode,
                                   given.mode, given.file_system, given.close_on_exec};
    const auto out = call.array<std::uint64_t>(1);
    std::copy_n(words, std::min(std::size(words), out.size()), out.begin());
    return call.give(0);
}

using Function = Napi::Value (*)(const Call&);
struct Export {
    const char* name;
    Function function;
};

// One list for each file of this folder.
std::span<const Export> kvm_exports();
std::span<const Export> vm_exports();
std::span<const Export> conversion_exports();
std::span<const Export> guest_memfd_exports();
std::span<const Export> mapping_exports();
std::span<const Export> raw_exports();
std::span<const Export> memory_file_exports();
std::span<const Export> populate_exports();
std::span<const Export> vcpu_exports();

} // namespace gm
