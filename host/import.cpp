// host/import.cpp - a Hugging Face model folder becomes a checkpoint.

#include <cstdio>

#include "core/base/error.hpp"
#include "core/hub/import.hpp"
#include "host/options.hpp"
#include "host/program.hpp"

namespace nemo::host {

namespace po = boost::program_options;

int import_folder(Program& program, const std::vector<std::string>& arguments) {
  const std::string usage = "nemo-host import --from HF_DIR --to CHECKPOINT [section.key=value ...]";
  po::options_description options("options");
  options.add_options()("from", po::value<std::string>(), "folder with config.json and safetensors")(
      "to", po::value<std::string>(), "the checkpoint's folder to make")("overwrite", "replace a checkpoint that is there");
  const Parsed parsed = parse(arguments, usage, options);
  if (parsed.help) return kDone;
  for (const char* needed : {"from", "to"})
    if (!parsed.values.count(needed)) throw Error(Code::kConfig, std::string("--") + needed + " is missing\nusage: " + usage);
  require_overrides(parsed.positional);
  hub::ImportOptions import{parsed.values["from"].as<std::string>(), parsed.values["to"].as<std::string>(), kImportedRecipe,
                            parsed.positional};
  if (!parsed.values.count("overwrite") && std::filesystem::exists(import.to))
    throw Error(Code::kConfig, "'" + import.to.string() + "' exists; name a new folder, or give --overwrite");
  const runtime::RunContext context = program.context();
  const hub::ImportResult result = hub::import_model(import, program.registry({}, std::filesystem::current_path()), context.warn);
  std::printf("imported %zu parameters, %.3f GB, as model '%s': %s\n", result.tensors, static_cast<double>(result.bytes) / 1e9,
              result.plugin.c_str(), import.to.c_str());
  return kDone;
}

}  // namespace nemo::host
