// Vulkan's C++ header with what llama.cpp wants of VK_EXT_layer_settings, which headers before 1.3.272 (Debian 12's) do not have. It only
// ever uses it under a validation layer, so the types need to compile and no more. Found before the real header through .cargo/config.toml.
#include_next <vulkan/vulkan.hpp>

#if !defined(VK_EXT_layer_settings) && !defined(GGRAFT_LAYER_SETTINGS)
#define GGRAFT_LAYER_SETTINGS
namespace vk {
enum class LayerSettingTypeEXT { eBool32 };
struct LayerSettingEXT {
    const char *layer, *name;
    LayerSettingTypeEXT type;
    uint32_t count;
    const void *values;
};
struct LayerSettingsCreateInfoEXT {
    VkStructureType type = static_cast<VkStructureType>(1000496000);
    const void *next = nullptr;
    uint32_t count;
    const LayerSettingEXT *settings;
    LayerSettingsCreateInfoEXT(const std::vector<LayerSettingEXT> &all) : count(uint32_t(all.size())), settings(all.data()) {}
};
} // namespace vk
#endif
