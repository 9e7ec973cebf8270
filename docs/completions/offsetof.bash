# Completion for bash of offsetof; made by "bun run docs" from the commands' definitions.

_offsetof() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command="" words="" files="" list="" head=""
  local common="--format --quiet --verbose -h --help --version --config --strategy --bytecode --source --allow --trust --threshold --retries --stability-window --stability-attempts --collect-tcpv4 --collect-tcpv6 --collect-udpv4 --collect-udpv6 --proc-root --deadline"
  # Bash takes --flag=value apart at the =.
  if [[ $current == = ]]; then current=""; elif [[ $previous == = ]]; then previous=${COMP_WORDS[COMP_CWORD-2]}; fi
  if ((COMP_CWORD > 1)) && [[ ${COMP_WORDS[1]} != -* ]]; then
    command=${COMP_WORDS[1]}
    case $command in
    bytecode | verify)
      if ((COMP_CWORD > 2)) && [[ ${COMP_WORDS[2]} != -* ]]; then command+=" ${COMP_WORDS[2]}"; fi ;;
    esac
  fi
  case "$command $previous" in
  " --format" | "run --format" | "kernel --format" | "tls --format") words="json table env header" ;;
  "detect --format" | "btf --format" | "gateway --format" | "bytecode list --format" | "bytecode extract --format" | "bytecode edit --format" | "verify kernel --format" | "verify tls --format" | "explain --format" | "diff --format" | "merge --format" | "config --format") words="json table" ;;
  *" --config") files=1 ;;
  *" --strategy") words="snapshot stepwise" ;;
  *" --bytecode") words="auto current old" ;;
  *" --source") words="guess btf dwarf probe code references table" list=1 ;;
  *" --allow") words="none assumed" ;;
  *" --trust") files=1 ;;
  *" --threshold") : ;;
  *" --retries") : ;;
  *" --stability-window") : ;;
  *" --stability-attempts") : ;;
  *" --collect-tcpv4") words="true false" ;;
  *" --collect-tcpv6") words="true false" ;;
  *" --collect-udpv4") words="true false" ;;
  *" --collect-udpv6") words="true false" ;;
  *" --proc-root") files=1 ;;
  *" --deadline") : ;;
  *" --only") : ;;
  *" --get") : ;;
  *" --image") files=1 ;;
  *" --member") : ;;
  *" --vocabulary") words="datadog datadog-cws deepflow nettracer tcptracer" ;;
  *" --constants") files=1 ;;
  *" --release") : ;;
  *" --build-id") : ;;
  *" --root") : ;;
  *" --pid") : ;;
  *" --version-text") : ;;
  *" -o") files=1 ;;
  *" --output") files=1 ;;
  "btf --for") : ;;
  "bytecode extract --for" | "bytecode edit --for") words="kernel" files=1 ;;
  *" --netns") files=1 ;;
  *" --translated") : ;;
  *" --cloud") words="aws" ;;
  *" --imds") : ;;
  *" --set") : ;;
  *" --against") files=1 ;;
  *" --seconds") : ;;
  *)
    case $command in
    "") words="run detect kernel tls btf gateway bytecode verify explain diff merge config --verify --export --only --get $common" ;;
    "run") words="--verify --export --only --get $common" ;;
    "detect") words="$common" ;;
    "kernel") words="--image --member --vocabulary --all --constants --release --build-id --export --only --get $common" files=1 ;;
    "tls") words="--root --pid --all --watch --version-text --constants --release --build-id --export --only --get $common" files=1 ;;
    "btf") words="-o --output --elf --for --image --minimal --install --constants --release --build-id $common" ;;
    "gateway") words="--netns --translated --cloud --imds --batch $common" ;;
    "bytecode") words="list extract edit --help" ;;
    "bytecode list") words="$common" ;;
    "bytecode extract") words="--member --for -o --output --image --constants --release --build-id --allow-missing --set $common" ;;
    "bytecode edit") words="--member --for -o --output --image --constants --release --build-id --allow-missing --set $common" files=1 ;;
    "verify") words="kernel tls --help" ;;
    "verify kernel") words="--constants --release --build-id $common" ;;
    "verify tls") words="--pid --against --seconds --constants --release --build-id $common" files=1 ;;
    "explain") words="$common" files=1 ;;
    "diff") words="$common" ;;
    "merge") words="$common" files=1 ;;
    "config") words="$common" ;;
    esac ;;
  esac
  if [[ -n $list && $current == *,* ]]; then
    head=${current%,*},
    current=${current##*,}
  fi
  mapfile -t COMPREPLY < <(compgen -P "$head" -W "$words" -- "$current")
  if [[ -n $files ]]; then
    local file
    while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen -f -- "$current")
  fi
}
complete -o filenames -F _offsetof offsetof
