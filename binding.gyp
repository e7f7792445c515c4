{
  "targets": [
    {
      "target_name": "guest_memfd",
      "sources": [
        "native/core/conversion.cpp",
        "native/core/exit_block.cpp",
        "native/core/forked_child.cpp",
        "native/core/guarded_access.S",
        "native/core/guarded_memory.cpp",
        "native/core/guest_memfd.cpp",
        "native/core/kick.cpp",
        "native/core/kvm.cpp",
        "native/core/mapping.cpp",
        "native/core/page_pin.cpp",
        "native/core/memory_file.cpp",
        "native/core/populate.cpp",
        "native/core/vcpu.cpp",
        "native/core/vm.cpp",
        "native/guest/aarch64.S",
        "native/guest/x86_64.S",
        "native/addon/conversion.cpp",
        "native/addon/environment.cpp",
        "native/addon/guest_memfd.cpp",
        "native/addon/kvm.cpp",
        "native/addon/mapping.cpp",
        "native/addon/memory_file.cpp",
        "native/addon/module.cpp",
        "native/addon/raw.cpp",
        "native/addon/populate.cpp",
        "native/addon/vcpu.cpp",
        "native/addon/vm.cpp"
      ],
      "include_dirs": ["native", "<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "cflags": ["-Wall", "-Wextra", "-Wpedantic", "-fvisibility=hidden", "-fstack-protector-strong"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc": ["-std=c++20"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
      "ldflags": ["-Wl,-z,nodelete"]
    },
    {
      "target_name": "gm_init",
      "type": "executable",
      "sources": ["native/lab/init.cpp"],
      "cflags": ["-Wall", "-Wextra", "-Wpedantic"],
      "cflags_cc": ["-std=c++20"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
      "ldflags!": ["-rdynamic"]
    }
  ]
}
