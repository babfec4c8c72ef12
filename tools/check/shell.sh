#!/usr/bin/env bash
# shell.sh: shellcheck over all shell scripts.
set -euo pipefail
cd "$(dirname "$0")/../.."

mapfile -t scripts < <(git ls-files --cached --others --exclude-standard | while read -r file; do
  # By name or by first line.
  if [[ -f $file && ($file == *.sh || $(head -c 21 "$file" | tr -d '\0') == '#!/usr/bin/env bash'*) ]]; then echo "$file"; fi
done)
shellcheck --external-sources "${scripts[@]}"
