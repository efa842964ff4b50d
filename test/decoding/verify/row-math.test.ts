import { referenceRowMath } from "../../../src/backend/reference/row-math.ts";
import { testRowMath } from "./row-math.case.ts";

testRowMath(referenceRowMath, 1e-15);
