// Follows a configuration file while the program runs. A changed file is loaded as a whole: a good one is handed on, a
// broken one is reported, and whoever holds the old settings keeps them. Loads never overlap; a change during a load
// causes one more.

import { watchFiles } from "../lib/file-watch.ts";
import type { Settings } from "../settings.ts";

export type SettingsListener = {
  onChange(settings: Settings): void;
  /** Mostly a ConfigError. */
  onError(error: unknown): void;
};

/** @param watch how changes of the file are seen; tests may bring their own. */
export function watchSettings(
  file: string,
  load: () => Promise<Settings>,
  listener: SettingsListener,
  watch: (paths: readonly string[], onChange: () => void) => { close(): void } = watchFiles,
): { close(): void } {
  let closed = false;
  let isLoading = false;
  let changedAgain = false;

  const reload = async (): Promise<void> => {
    if (isLoading) {
      changedAgain = true;
      return;
    }
    isLoading = true;
    do {
      changedAgain = false;
      const result = await load().then((settings) => ({ settings }), (error: unknown) => ({ error }));
      // A file that changed while it was read may have been read in halves: only the last reading counts.
      if (closed || changedAgain) continue;
      if ("settings" in result) listener.onChange(result.settings);
      else listener.onError(result.error);
    } while (changedAgain && !closed);
    isLoading = false;
  };

  const watcher = watch([file], () => void reload());
  return {
    close() {
      closed = true;
      watcher.close();
    },
  };
}
