// An addon that leaks on purpose: that LeakSanitizer tells of it is what its silence on the addon of this package is
// worth.
#include <node_api.h>

NAPI_MODULE_INIT(/* env, exports */) {
    (void)env;
    auto* volatile lost = new char[4321];
    lost = nullptr;
    return lost == nullptr ? exports : nullptr;
}
